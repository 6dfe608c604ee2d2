"""Backward through a batch larger than memory, in chunks (GradCache: Gao et al., arXiv 2101.06983,
section 3).

`cached_step` is the whole of it, in the paper's three steps. Activations of one chunk are alive at
a time; the gradient is that of the whole batch.

Step 3 is one backward over checkpointed chunks (torch.utils.checkpoint): whatever reduces gradients
between processes (DDP, FSDP, DeepSpeed) sees one backward per step and communicates once.

Shape suffixes: N texts of this process, n texts of a chunk, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from whet.processes.devices import sent

Forward = Callable[[np.ndarray], Tensor]  # rows of some texts -> their vectors [n, D]
# vectors [N, D] in the order of the texts -> their loss, and its gradient [N, D] in them
LossOf = Callable[[Tensor], tuple[Tensor, Tensor]]


def cached_step(
    forward: Forward,
    chunks: Sequence[np.ndarray],
    loss_of: LossOf,
    backward: Callable[[Tensor], None],
    *,
    cached: bool,
    device: torch.device,
) -> Tensor:
    """Gradients of the loss of all texts in whatever made their vectors; returns the loss.

    `chunks` are rows of the texts, each text in one chunk. A chunk may be empty: then `forward` may
    give any vector, which has no part in the loss, so that processes with fewer texts do as many
    forwards as the others. `backward` takes a scalar, as Lightning and DeepSpeed want it. Without
    `cached` all activations are kept, for the same gradient in less time. `device` is that of
    `forward`. Both backwards run without autocast, which would cast the products in them, too.
    """
    # 1. The vectors, of which no activations are kept.
    vector_ND = chunked_vectors(forward, chunks, cached=cached, device=device)
    starts = np.cumsum([0, *(max(1, len(chunk)) for chunk in chunks)])
    made_N = np.concatenate(
        [start + np.arange(len(chunk)) for start, chunk in zip(starts, chunks, strict=False)]
    )
    place_N = made_N[np.argsort(np.concatenate(chunks))].astype(np.int64)
    ordered_ND = vector_ND[sent(torch.from_numpy(place_N), vector_ND.device)]
    with torch.autocast(device.type, enabled=False):
        # 2. The loss over all vectors. Detached, so that its own backward ends at them.
        loss, gradient_ND = loss_of(ordered_ND.detach())
        # 3. Forward again, chunk by chunk, each as it was cast the first time, with the gradient
        # pushed through.
        backward_of(ordered_ND, gradient_ND, backward)
    return loss


def chunked_vectors(
    forward: Forward, chunks: Sequence[np.ndarray], *, cached: bool, device: torch.device
) -> Tensor:
    """The vectors of all chunks, one after the other; if `cached`, activations are not kept but
    made again by the backward with the same random numbers, one chunk's at a time.
    """
    if not cached:
        return torch.cat([forward(rows) for rows in chunks])
    # Of the devices' random numbers torch keeps those that an argument is on, and no others:
    # without this one a GPU would draw other dropout masks in the second forward.
    place = torch.empty(0, device=device)

    def forward_here(rows: np.ndarray, _: Tensor) -> Tensor:
        return forward(rows)

    return torch.cat(
        [
            checkpoint(forward_here, rows, place, use_reentrant=False, preserve_rng_state=True)
            for rows in chunks
        ]
    )


def backward_of(vector_ND: Tensor, gradient_ND: Tensor, backward: Callable[[Tensor], None]) -> None:
    """Push the loss's gradient with respect to the vectors through what made them, by way of a
    scalar that has this gradient.
    """
    backward((vector_ND * gradient_ND).sum())
