"""How the texts of a global batch are divided over the processes, and their vectors shared again.

Text i of the batch is encoded by process i mod W. Every process then holds all vectors and computes
the whole loss, so its gradient is that of the whole batch and no gradient of vectors travels.

Shape suffixes: U texts of the global batch, N texts of this process, W processes, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whet.processes.world import stacked, world


def own_texts(count: int) -> np.ndarray:
    """Which of `count` texts this process encodes, int64 [N]."""
    return np.arange(world().rank, count, world().size)


def most(number: int) -> int:
    """The greatest of the processes' numbers."""
    return int(stacked(np.array([number])).max())


def all_vectors(own_ND: Tensor, count: int) -> Tensor:
    """The vectors of all texts, [U, D], in their order, from each process's own."""
    size = world().size
    if size == 1:
        return own_ND
    import torch.distributed as dist

    places = -(-count // size)
    padded_MD = own_ND.new_zeros((places, own_ND.shape[1]))
    padded_MD[: len(own_ND)] = own_ND
    part_WMD = own_ND.new_empty((size * places, own_ND.shape[1]))
    # torch 2.13 renamed it
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    gather(part_WMD, padded_MD)
    by_text = part_WMD.view(size, places, -1).transpose(0, 1)
    return by_text.reshape(size * places, -1)[:count]


def own_gradient(gradient_UD: Tensor, like_ND: Tensor) -> Tensor:
    """This process's rows of the gradient, zero for texts that only fill up a chunk.

    Every strategy averages over processes what must be summed, hence the factor W.
    """
    mine_MD = gradient_UD[world().rank :: world().size]  # as `own_texts` has them
    gradient_ND = torch.zeros_like(like_ND)
    gradient_ND[: len(mine_MD)] = mine_MD
    return gradient_ND * world().size
