"""What the dry run looks at beside training steps. Tests call these; so do the planted faults, to
show that each check can fail.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_training import check_types
from pretend_cuda import Gpu

from whet.config import EncodeConfig
from whet.feedback.learn.adapt import changed, train_encoder
from whet.feedback.learn.lessons import Pool
from whet.loss.gradcache import cached_step
from whet.mining.crossencoder import CrossEncoder
from whet.model.encoder import Encoder
from whet.model.inference import encode_texts
from whet_kernels.topk.gpu.one_pass import GpuTiling
from whet_kernels.topk.gpu.search import mine_topk_gpu
from whet_kernels.topk.reference import mine_topk_reference
from whet_kernels.topk.window import Exclude, TopK, window_of

WORDS = ["bace", "difo", "guka", "lemi"]
TEXTS = [" ".join(WORDS * (1 + row % 5)) for row in range(60)]
FEW_TEXTS = [" ".join(WORDS[: 1 + row % 4]) for row in range(12)]
TILING = GpuTiling(queries=64, rows=64, hits=32, kept=48, sample=64)
TIGHT = GpuTiling(queries=64, rows=64, hits=4, kept=8, sample=64)  # too little for any pass


def check_encoding(gpu: Gpu, model: Path, pooling: str | None = None) -> np.ndarray:
    """15 batches, and one wait: for the results. The vectors are those of a CPU to the rounding of
    16 bits, and of unit length to that of 32.
    """
    encoder = Encoder.load(str(model)).to("cuda")
    if pooling:
        encoder.recipe = replace(encoder.recipe, pooling=pooling)
    encode_texts(encoder, TEXTS[:1], "document", EncodeConfig())  # looks at the weights once
    with gpu.during("encode"):
        found_ND = encode_texts(encoder, TEXTS, "document", EncodeConfig(batch_tokens=64))
    assert gpu.waits("encode") <= 1, gpu.report()
    check_types(gpu, "encode")
    wanted_ND = encode_texts(encoder, TEXTS, "document", EncodeConfig(device="cpu"))
    assert 1e-6 < np.abs(found_ND - wanted_ND).max() < 0.02
    assert np.abs(np.linalg.norm(found_ND, axis=1) - 1).max() < 1e-6
    return found_ND


def cross_encoder_of(model: Path, folder: Path) -> Path:
    """A folder with a cross-encoder: the tiny model with a head of random weights."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    made = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


def check_cross_encoder(gpu: Gpu, model: Path, wanted_M: np.ndarray) -> None:
    """In 16 bits it scores as a CPU does, to their rounding, and waits once per batch."""
    scorer = CrossEncoder(str(model))
    with gpu.during("rescore"):
        found_M = scorer.scores(TEXTS[:9], TEXTS[9:18])
    check_types(gpu, "rescore")
    assert 0 < np.abs(found_M - wanted_M).max() < 0.01


def gradients(encoder: Encoder, *, cached: bool) -> dict[str, torch.Tensor]:
    """Of every parameter, in chunks of four texts, with dropout drawn from one seed."""
    encoder.zero_grad()
    torch.manual_seed(5)
    tokens = encoder.tokenize(FEW_TEXTS, "document")

    def forward(rows: np.ndarray) -> torch.Tensor:
        return encoder.forward_tokens([tokens[row] for row in rows])

    def loss_of(vector_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        vector_ND.requires_grad_()
        loss = torch.logsumexp(vector_ND @ vector_ND.T, 1).sum()
        loss.backward()
        assert vector_ND.grad is not None
        return loss.detach(), vector_ND.grad

    chunks = np.split(np.arange(len(FEW_TEXTS)), 3)
    push = torch.Tensor.backward
    cached_step(forward, chunks, loss_of, push, cached=cached, device=encoder.device)
    return {n: p.grad.cpu() for n, p in encoder.named_parameters() if p.grad is not None}


def check_cached_dropout(model: Path) -> None:
    """The second forward is on the device, whose random numbers are its own: they are drawn
    again.
    """
    encoder = Encoder.load(str(model)).to("cuda").train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    whole, cached = gradients(encoder, cached=False), gradients(encoder, cached=True)
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        apart = float((gradient - cached[name]).abs().max())
        assert apart <= 1e-5 * largest, f"the gradient of {name} is another"


def check_backward_of_the_loss() -> None:
    """Under bf16 autocast the products of the loss's own backward would keep 8 bits."""
    torch.manual_seed(0)
    vector_ND = torch.nn.functional.normalize(torch.randn(12, 16), dim=1)
    exact_ND = vector_ND.double().requires_grad_()
    torch.logsumexp(20 * exact_ND @ exact_ND.T, 1).sum().backward()
    seen: list[torch.Tensor] = []

    def loss_of(own_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        own_ND.requires_grad_()
        loss = torch.logsumexp(20 * own_ND @ own_ND.T, 1).sum()
        loss.backward()
        assert own_ND.grad is not None
        seen.append(own_ND.grad.cpu())
        return loss.detach(), own_ND.grad

    start_ND = vector_ND.cuda().requires_grad_()
    push, rows, device = torch.Tensor.backward, [np.arange(12)], start_ND.device
    with torch.autocast("cuda", dtype=torch.bfloat16):
        cached_step(lambda _: start_ND * 1.0, rows, loss_of, push, cached=False, device=device)
    assert exact_ND.grad is not None
    error = (seen[0] - exact_ND.grad).abs().max() / exact_ND.grad.abs().max()
    assert float(error) < 1e-5, f"rounded by {float(error):.1e}"


def check_tuned_matrix(model: Path) -> None:
    """Under autocast it would round every number of a vector to 8 bits."""
    encoder = Encoder.load(str(model)).to("cuda").eval()
    turn_DD = torch.linalg.qr(torch.randn(32, 32)).Q
    plain_BD = encoder.pool(torch.ones(2, 3, 32).cuda(), torch.ones(2, 3).cuda()).cpu()
    encoder.with_matrix(turn_DD.cuda())
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
        turned_BD = encoder.pool(torch.ones(2, 3, 32).cuda(), torch.ones(2, 3).cuda()).cpu()
    wanted_BD = plain_BD.double() @ turn_DD.double().T
    error = float((turned_BD - wanted_BD).abs().max())
    assert error < 1e-6, f"rounded by {error:.1e}"


def check_learning(model: Path) -> None:
    """Steps of tuning an encoder that was given a matrix twice, with judgments of the host."""
    encoder = Encoder.load(str(model)).to("cuda")
    for _ in range(2):
        encoder = changed(encoder, {"matrix": torch.eye(32)})
    relevant_FP = torch.eye(3, 6, dtype=torch.bool)
    nothing_FP = torch.zeros_like(relevant_FP)
    pairs_M3 = torch.tensor([[0, 0, 1], [2, 2, 4]])
    vectors_PD = torch.nn.functional.normalize(torch.randn(6, 32), dim=1)
    pool = Pool(vectors_PD, relevant_FP, nothing_FP, nothing_FP, pairs_M3, torch.zeros(3, 6))
    before, after = train_encoder(encoder, WORDS[:3], pool, seed=0, step_done=lambda count: None)
    assert any(not torch.equal(before[name].cpu(), after[name].cpu()) for name in before)


def unit_vectors(rows: int, seed: int = 0) -> np.ndarray:
    """Float32 [rows, 16] of unit length."""
    vector_ND = np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)
    unit_ND: np.ndarray = vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)
    return unit_ND


QUERIES, CORPUS = unit_vectors(3), unit_vectors(130, seed=1)
LIMITS: dict[str, Any] = {  # that matter
    "ceiling_Q": np.full(3, 0.4, np.float32),
    "floor_Q": np.full(3, -0.2, np.float32),
}
EXCLUDED = Exclude(np.array([0, 2, 2, 3]), np.array([7, 65, 129]))
WINDOW = window_of(3, 130, **LIMITS, exclude=EXCLUDED)


def check_same(found: TopK, k: int) -> None:
    """The oracle's result, to the bit."""
    wanted = mine_topk_reference(QUERIES, CORPUS, k, WINDOW)
    for name, ours, theirs in zip(wanted._fields, found, wanted, strict=True):
        assert np.array_equal(ours, theirs, equal_nan=True), name


def check_search(*, streamed: bool = False, tiling: GpuTiling = TILING) -> int:
    """Of a corpus on the device, or streamed to it; how many queries were scanned again, with
    `TIGHT` every one.
    """
    again: list[int] = []
    corpus_ND = CORPUS if streamed else torch.from_numpy(CORPUS).cuda()
    found = mine_topk_gpu(
        QUERIES, corpus_ND, 5, WINDOW, first_pass="int8", tiling=tiling, rescanned=again.append
    )
    check_same(found, 5)
    return sum(again)


def check_slabs(gpu: Gpu, *, streamed: bool = False) -> None:
    """In a pass nothing waits for the host: more slabs are no more waits. Of a streamed corpus the
    host waits until a slab's buffer is free, and for nothing else.
    """
    waits = []
    for slabs in (1, 3):
        rows = np.tile(CORPUS, (2, 1))[: slabs * TILING.rows]
        corpus_ND = rows if streamed else torch.from_numpy(rows.copy()).cuda()
        with gpu.during(f"{slabs} slabs"):
            free = window_of(len(QUERIES), len(rows))
            mine_topk_gpu(QUERIES, corpus_ND, 5, free, first_pass="int8", tiling=TILING)
        buffers = sum(
            count
            for (phase, kind, _), count in gpu.events.items()
            if phase == f"{slabs} slabs" and kind == "wait: synchronize"
        )
        waits.append(gpu.waits(f"{slabs} slabs") - buffers * streamed)
    assert waits[1] <= waits[0], gpu.report()
