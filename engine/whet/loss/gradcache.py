"""Backward through a batch larger than memory, in chunks (GradCache: Gao et al., arXiv 2101.06983,
section 3).

1. Forward every chunk without keeping activations. 2. Loss over all vectors; keep its gradient with
respect to them. 3. Forward each chunk again, with the same randomness, and push its part of that
gradient through. Activations of one chunk are alive at a time; the gradient is that of the whole
batch.

Shape suffixes: N texts of the batch, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

Forward = Callable[[int], Tensor]  # chunk number -> its vectors [n, D]


@contextmanager
def _replayed(state: list[Tensor], device: torch.device) -> Iterator[None]:
    """Run the block with the random state it had; afterwards randomness goes on as if it had not
    run.
    """
    after = _random_state(device)
    _set_random_state(state, device)
    yield
    _set_random_state(after, device)


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_random_state(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def backward_whole(
    forward: Forward,
    chunks: int,
    loss_of: Callable[[Tensor], Tensor],
    backward: Callable[[Tensor], None],
) -> Tensor:
    """Forward all chunks, then one backward; every activation is alive at once. Returns the loss,
    detached.
    """
    loss = loss_of(torch.cat([forward(chunk) for chunk in range(chunks)]))
    backward(loss)
    return loss.detach()


def backward_cached(
    forward: Forward,
    chunks: int,
    loss_of: Callable[[Tensor], Tensor],
    backward: Callable[[Tensor], None],
    *,
    device: torch.device,
) -> Tensor:
    """The same gradients and loss as `backward_whole`, with one chunk's activations alive at a
    time.

    `backward` runs the loss's backward (it may scale it, as mixed precision does).
    """
    states: list[list[Tensor]] = []
    parts: list[Tensor] = []
    with torch.no_grad():
        for chunk in range(chunks):
            states.append(_random_state(device))
            parts.append(forward(chunk))
    vector_ND = torch.cat(parts).requires_grad_()
    with torch.enable_grad():
        loss = loss_of(vector_ND)
        backward(loss)
    assert vector_ND.grad is not None
    gradients = vector_ND.grad.split([len(part) for part in parts])
    for chunk, gradient in enumerate(gradients):
        with _replayed(states[chunk], device):
            again = forward(chunk)
        again.backward(gradient)
    return loss.detach()
