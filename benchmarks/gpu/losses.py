"""The fused loss of float32 vectors, forward and backward: its rate by the type of its products,
bf16 where training is, too.

`benchmarks/fused_infonce.py` sets it against the plain loss; here is how far it is from the roof.

Shape suffixes: B pairs, C documents, D dimensions.
"""

from __future__ import annotations

from functools import partial

import timing
import torch
from stages import Here

PRODUCTS = 8  # FLOP per pair, document and dimension: forward, again backward, two gradients


def vectors(pairs: int, dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors on the device; every document is close to its query, as in training."""
    torch.manual_seed(0)
    query_BD = torch.nn.functional.normalize(torch.randn(pairs, dims, device="cuda"), dim=1)
    noise_BD = torch.randn(pairs, dims, device="cuda") / dims**0.5
    doc_CD = torch.nn.functional.normalize(query_BD + noise_BD, dim=1)
    return query_BD.requires_grad_(), doc_CD.requires_grad_()


def once(
    given: tuple[torch.Tensor, torch.Tensor], products: torch.dtype, *, symmetric: bool = False
) -> None:
    """The loss and its gradients; each query knows its own document."""
    from whet_kernels.infonce.fused import fused_info_nce

    column_B = torch.arange(len(given[0]), device="cuda")
    known = (torch.arange(len(column_B) + 1, device="cuda"), column_B)
    for vector in given:
        vector.grad = None
    fused_info_nce(
        *given, column_B, known, temperature=0.05, symmetric=symmetric, products=products
    ).backward()


def speed(here: Here) -> None:
    """Milliseconds and rate by pairs and type of the products."""
    dims = 32 if here.rehearsed else 768
    for pairs in (48,) if here.rehearsed else (4096, 16_384, 65_536):
        given = vectors(pairs, dims)
        for products in (torch.bfloat16, torch.float32):
            seconds = timing.on_device(partial(once, given, products), here, times=5)
            name = f"{pairs:,} pairs, {str(products).removeprefix('torch.')}"
            here.figure(f"{name}, ms", seconds * 1e3)
            here.figure(f"{name}, TFLOP/s", PRODUCTS * pairs**2 * dims / seconds / 1e12)
