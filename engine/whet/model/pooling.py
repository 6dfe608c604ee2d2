"""From token vectors to one vector per text.

Shape suffixes: B texts, L tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SMALLEST_NORM = 1e-6


def mean(token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Mean over real tokens (Reimers and Gurevych, Sentence-BERT, section 3).

    >>> mean(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[3.]])
    """
    weight_BL1 = mask_BL.unsqueeze(-1).to(token_BLD.dtype)
    return (token_BLD * weight_BL1).sum(1) / weight_BL1.sum(1).clamp_min(1e-9)


def cls(token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The first token's vector.

    >>> cls(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[2.]])
    """
    return token_BLD[:, 0]


def last(token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The last real token's vector, for decoders; texts are padded on the right.

    >>> last(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[4.]])
    """
    last_B = mask_BL.sum(1).clamp_min(1) - 1
    return token_BLD[torch.arange(token_BLD.shape[0], device=token_BLD.device), last_B]


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": mean, "cls": cls, "last": last}


def to_unit_length(vector_BD: Tensor) -> Tensor:
    """Divide each vector by its length; one shorter than 1e-6 becomes 0 and gets no gradient, one
    without a finite length becomes NaN, which whoever stores or searches it refuses.

    Dividing by a tiny length instead would give that row a gradient of 1e9 and more, which clipping
    then takes out of every other row.

    >>> to_unit_length(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    norm_B1 = vector_BD.norm(dim=-1, keepdim=True)
    unit_BD = vector_BD / norm_B1.clamp_min(SMALLEST_NORM)
    finite_BD = torch.where(norm_B1 < torch.inf, unit_BD, torch.full_like(unit_BD, torch.nan))
    return torch.where(norm_B1 <= SMALLEST_NORM, torch.zeros_like(unit_BD), finite_BD)
