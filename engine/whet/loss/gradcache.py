"""Backward through a batch larger than memory, in chunks (GradCache: Gao et al., arXiv 2101.06983,
section 3).

1. Forward every chunk without keeping activations. 2. Loss over all vectors; keep its gradient with
respect to them. 3. Forward each chunk again, with the same randomness, and push its part of that
gradient through. Activations of one chunk are alive at a time; the gradient is that of the whole
batch.

Step 3 is one backward over checkpointed chunks (torch.utils.checkpoint): whatever reduces gradients
between processes (DDP, FSDP, DeepSpeed) sees one backward a step and communicates once.

Shape suffixes: N texts of this process, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Forward = Callable[[int], Tensor]  # chunk number -> its vectors [n, D]


def chunked_vectors(forward: Forward, chunks: int, *, cached: bool) -> Tensor:
    """The vectors of all chunks, [N, D]; if `cached`, activations are not kept but made again by
    the backward, one chunk's at a time.
    """
    if not cached:
        return torch.cat([forward(chunk) for chunk in range(chunks)])
    parts = [
        checkpoint(forward, chunk, use_reentrant=False, preserve_rng_state=True)
        for chunk in range(chunks)
    ]
    return torch.cat(parts)


def backward_of(vector_ND: Tensor, gradient_ND: Tensor, backward: Callable[[Tensor], None]) -> None:
    """Push the loss's gradient with respect to the vectors through what made them.

    `backward` takes a scalar, as Lightning and DeepSpeed want it; this one has that gradient.
    """
    backward((vector_ND * gradient_ND).sum())
