"""Is what a GPU computes right? Against float64, a CPU, and itself done another way.

Shape suffixes: Q queries, N texts, D dimensions, k results a query.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import made
import mining as searches
import numpy as np
import torch
from mining import GEARS, WINDOWS, Shape
from stages import Here

CHECKED = 32  # queries of a search that the oracle answers: it looks at every score in float64
# Length of the difference of two unit vectors. A format of 8 or 11 bits loses 0.4 or 0.05 % each
# time it rounds, and some dozen such errors add up over the layers.
VECTORS_APART = {"bf16": 0.05, "fp16": 0.01, "fp32": 1e-4}
LOSSES_APART = 0.05  # relative; bf16 against float32
GRADIENTS_APART = 1e-4  # relative to the largest


def mining(here: Here) -> None:
    """The search against the oracle, to the bit, at shapes that fill tiles and shapes that do not,
    in three formats, the corpus on the device and streamed; and all formats to the bit alike.
    """
    sizes = [Shape(12, 260, 40, 5)]
    if not here.rehearsed:
        sizes = [Shape(300, 5000, 768, 64), Shape(1000, 20_011, 384, 16)]
        sizes += [Shape(3, 70_000, 96, 200), Shape(257, 3001, 1024, 100)]
    tried = 0
    for number, shape in enumerate(sizes):
        for ceiling, floor in WINDOWS[2:] if here.rehearsed else WINDOWS:
            given = searches.problem(shape, ceiling=ceiling, floor=floor)
            at = np.linspace(0, shape.queries - 1, min(shape.queries, CHECKED)).astype(int)
            expected = _oracle(given, at)
            first: Any = None
            for gear in GEARS:
                streamed = number % 2 == 1 or (here.rehearsed and gear == "bf16")
                found = searches.found_on_gpu(given, gear, streamed=streamed)
                tried += 1
                wrong = _differs(found, expected, at)
                every = np.arange(shape.queries)  # those that the oracle did not answer
                wrong += _differs(found, first, every) if first is not None else []
                first = found if first is None else first
                for name in dict.fromkeys(wrong):
                    here.wrong(f"{gear}, {shape}, ceiling {ceiling}, floor {floor}: {name}")
    here.figure("searches", tried)


def _oracle(given: searches.Problem, at: np.ndarray) -> Any:
    from whet_kernels.topk.reference import mine_topk_reference

    part = given.window.take(at)
    return mine_topk_reference(given.query_QD[at], given.corpus_ND, given.k, part)


def _differs(found: Any, expected: Any, at: np.ndarray) -> list[str]:
    """Which parts of the answers of some queries are not what is expected of them."""
    names = ("rows_Qk", "scores_Qk", "above_Q", "below_Q")
    pairs = {name: (getattr(found, name)[at], getattr(expected, name)) for name in names}
    return [
        name
        for name, (ours, theirs) in pairs.items()
        if not np.array_equal(ours, theirs, equal_nan=name == "scores_Qk")
    ]


def loss(here: Here) -> None:
    """The fused loss of float32 vectors and its gradients against float64, products in bf16 (of
    vectors so rounded) and float32.
    """
    pairs, dims = (20, 32) if here.rehearsed else (3000, 768)
    for products, most in ((torch.bfloat16, 2e-2), (torch.float32, 1e-4)):
        for symmetric in (False, True):
            error = _loss_error(pairs, dims, products, symmetric)
            ways = "both ways" if symmetric else "one way"
            name = f"{str(products).removeprefix('torch.')}, {ways}, relative error"
            here.figure(name, error)
            if not error < most:
                here.wrong(f"{name} is {error:.2g}, allowed is {most:g}")


def _loss_error(pairs: int, dims: int, products: torch.dtype, symmetric: bool) -> float:
    """The larger of the relative errors of the loss and of both gradients."""
    from whet_kernels.infonce.fused import fused_info_nce, info_nce_reference

    torch.manual_seed(0)
    made_up = [
        torch.nn.functional.normalize(torch.randn(count, dims), dim=1)
        for count in (pairs, 2 * pairs)
    ]
    column = torch.arange(pairs)
    offsets = torch.arange(pairs + 1) * 2
    known = torch.stack([column, (column * 7 + 1) % (2 * pairs)], 1).ravel()
    options: dict[str, Any] = {"temperature": 0.05, "symmetric": symmetric}
    query, doc = ours = [part.cuda().requires_grad_() for part in made_up]
    there = (offsets.cuda(), known.cuda())
    found = fused_info_nce(query, doc, column.cuda(), there, products=products, **options)
    found.backward()
    query, doc = exact = [part.to(products).double().requires_grad_() for part in made_up]
    truth = info_nce_reference(query, doc, column, (offsets, known), **options)
    truth.backward()
    errors = [abs(found.item() / truth.item() - 1)]
    for one, other in zip(ours, exact, strict=True):
        assert one.grad is not None and other.grad is not None
        difference = one.grad.cpu().double() - other.grad
        errors.append((difference.norm() / other.grad.norm()).item())
    return max(errors)


def gradients(here: Here) -> None:
    """GradCache's gradients equal those without it, dropout included: the second forward has to
    draw the same masks.
    """
    from whet.model.encoder import Encoder

    encoder = Encoder.load(str(made.model(here.scratch, "tiny", length=64))).to("cuda").train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    whole, cached = (_gradients(encoder, cached) for cached in (False, True))
    largest = max(float(part.abs().max()) for part in whole.values())
    apart = max(float((whole[name] - cached[name]).abs().max()) for name in whole) / largest
    here.figure("largest difference over the largest gradient", apart)
    if not apart < GRADIENTS_APART:
        here.wrong(f"cached gradients are {apart:.2g} of the largest apart")


def _gradients(encoder: Any, cached: bool) -> dict[str, torch.Tensor]:
    """Of every parameter, in three chunks, with dropout drawn from one seed."""
    from whet.loss.gradcache import cached_step

    encoder.zero_grad()
    torch.manual_seed(5)
    tokens = encoder.tokenize(made.texts_of(12, 20, seed=3, spread=0.5), "document")

    def loss_of(vector_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        vector_ND.requires_grad_()
        value = torch.logsumexp(vector_ND @ vector_ND.T, 1).sum()
        value.backward()
        assert vector_ND.grad is not None
        return value.detach(), vector_ND.grad

    cached_step(
        lambda rows: encoder.forward_tokens([tokens[row] for row in rows]),
        np.split(np.arange(len(tokens)), 3),
        loss_of,
        torch.Tensor.backward,
        cached=cached,
        device=encoder.device,
    )
    parts = {name: part.grad for name, part in encoder.named_parameters()}
    return {name: grad.cpu() for name, grad in parts.items() if grad is not None}


def vectors(here: Here) -> None:
    """Vectors of the GPU and of the CPU: equal within what 16 bits round, and closely in fp32."""
    from whet.config import EncodeConfig
    from whet.model.encoder import Encoder
    from whet.model.inference import encode_texts

    shape, count = ("tiny", 20) if here.rehearsed else ("minilm", 400)
    encoder = Encoder.load(str(made.model(here.scratch, shape)))
    texts = made.texts_of(count, 60, seed=4, spread=0.9)
    cpu = EncodeConfig(device="cpu", precision="fp32")
    expected_ND = encode_texts(encoder, texts, "document", cpu)
    for precision, most in VECTORS_APART.items():
        config = EncodeConfig(precision=precision, batch_tokens=200 if here.rehearsed else None)
        found_ND = encode_texts(encoder, texts, "document", config)
        apart = float(np.linalg.norm(found_ND - expected_ND, axis=1).max())
        here.figure(f"{precision}, largest difference", apart)
        if not apart < most:
            here.wrong(f"{precision} vectors are up to {apart:.2g} off, allowed is {most:g}")
        if np.abs(np.linalg.norm(found_ND, axis=1) - 1).max() > 1e-5:
            here.wrong(f"{precision} vectors are not of unit length")


def fit(here: Here) -> None:
    """A fit on the GPU beside one on the CPU, without dropout: losses within what bf16 costs."""
    losses = {name: _losses(here, name) for name in ("gpu", "cpu")}
    apart = max(
        abs(ours - theirs) / theirs
        for ours, theirs in zip(losses["gpu"], losses["cpu"], strict=True)
    )
    here.figure("last loss on the GPU", losses["gpu"][-1])
    here.figure("last loss on the CPU", losses["cpu"][-1])
    here.figure("largest relative difference", apart)
    if not apart < LOSSES_APART:
        here.wrong(f"losses are up to {apart:.1%} apart")


def _losses(here: Here, place: str) -> list[float]:
    """Of every step."""
    import whet

    on_cpu = place == "cpu"
    folder: Path = here.scratch / "fit"
    run = whet.fit(
        str(made.data(folder, 120 if here.rehearsed else 800)),
        select={"policy": "last"},
        model={"name": str(made.model(folder, "tiny", length=64)), "dropout": 0.0},
        encode={"device": "cpu"} if on_cpu else {},
        mining={"num_negatives": 2, "backend": "blas" if on_cpu or here.rehearsed else "gpu"},
        loss={"cache": "always"},
        trainer={
            "max_steps": 3 if here.rehearsed else 20,
            "batch_size": 16 if here.rehearsed else 64,
            "log_every_n_steps": 1,
            "accelerator": "cpu" if on_cpu else "gpu",
        },
        output=str(folder / place),
    )
    rows = [json.loads(line) for line in (run.folder / "train_log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]
