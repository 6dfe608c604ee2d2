"""A training step on a GPU that is not there: what is right on a CPU is right there, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pretend_cuda import Gpu

from whet.loss.gradcache import cached_step
from whet.model.encoder import Encoder

TEXTS = [" ".join(["bace", "difo", "guka", "lemi"][: 1 + row % 4]) for row in range(12)]


def gradients(encoder: Encoder, *, cached: bool) -> dict[str, torch.Tensor]:
    """Of every parameter, in chunks of four texts, with dropout drawn from one seed."""
    encoder.zero_grad()
    torch.manual_seed(5)
    tokens = encoder.tokenize(TEXTS, "document")

    def forward(rows: np.ndarray) -> torch.Tensor:
        return encoder.forward_tokens([tokens[row] for row in rows])

    def loss_of(vector_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        vector_ND.requires_grad_()
        loss = torch.logsumexp(vector_ND @ vector_ND.T, 1).sum()
        loss.backward()
        assert vector_ND.grad is not None
        return loss.detach(), vector_ND.grad

    chunks = np.split(np.arange(len(TEXTS)), 3)
    push = torch.Tensor.backward
    cached_step(forward, chunks, loss_of, push, cached=cached, device=encoder.device)
    return {n: p.grad.cpu() for n, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_cached_step_draws_the_same_dropout_again(
    gpu: Gpu, tiny_model: Path, dropout: float
) -> None:
    """The second forward is on the device, whose random numbers are its own."""
    encoder = Encoder.load(str(tiny_model)).to("cuda").train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    whole, cached = gradients(encoder, cached=False), gradients(encoder, cached=True)
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        assert float((gradient - cached[name]).abs().max()) <= 1e-5 * largest, name


def test_the_backward_of_the_loss_is_not_cast(gpu: Gpu) -> None:
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
    rows = [np.arange(12)]
    with torch.autocast("cuda", dtype=torch.bfloat16):
        cached_step(
            lambda rows: start_ND * 1.0,
            rows,
            loss_of,
            torch.Tensor.backward,
            cached=False,
            device=start_ND.device,
        )
    assert exact_ND.grad is not None
    error = (seen[0] - exact_ND.grad).abs().max() / exact_ND.grad.abs().max()
    assert float(error) < 1e-5


def test_a_tuned_matrix_multiplies_in_float32(gpu: Gpu, tiny_model: Path) -> None:
    """Under autocast it would round every number of a vector to 8 bits."""
    encoder = Encoder.load(str(tiny_model)).to("cuda").eval()
    turn_DD = torch.linalg.qr(torch.randn(32, 32)).Q
    plain_BD = encoder.pool(torch.ones(2, 3, 32).cuda(), torch.ones(2, 3).cuda()).cpu()
    encoder.with_matrix(turn_DD.cuda())
    encoder.to("cuda")
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
        turned_BD = encoder.pool(torch.ones(2, 3, 32).cuda(), torch.ones(2, 3).cuda()).cpu()
    wanted_BD = plain_BD.double() @ turn_DD.double().T
    assert float((turned_BD - wanted_BD).abs().max()) < 1e-6
