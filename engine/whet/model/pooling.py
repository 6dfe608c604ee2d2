"""From token vectors to one vector per text.

A mask says which tokens count. Those that do follow each other: padding is on the right, and a
prompt that is left out on the left.

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


def mean_sqrt_len(token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The sum over real tokens, divided by the square root of their number.

    >>> tokens_BLD = torch.tensor([[[2.0], [4.0], [6.0], [8.0], [9.0]]])
    >>> mean_sqrt_len(tokens_BLD, torch.tensor([[1, 1, 1, 1, 0]]))
    tensor([[10.]])
    """
    weight_BL1 = mask_BL.unsqueeze(-1).to(token_BLD.dtype)
    return (token_BLD * weight_BL1).sum(1) / weight_BL1.sum(1).clamp_min(1e-9).sqrt()


def weightedmean(token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """Mean over real tokens, each weighted by its place, 1 for the first (SGPT, arXiv 2202.08904).

    >>> weightedmean(torch.tensor([[[2.0], [5.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[4.]])
    """
    place_L = torch.arange(1, mask_BL.shape[1] + 1, device=mask_BL.device)
    weight_BL1 = (mask_BL * place_L).unsqueeze(-1).to(token_BLD.dtype)
    return (token_BLD * weight_BL1).sum(1) / weight_BL1.sum(1).clamp_min(1e-9)


def largest(token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The largest number over real tokens, in each dimension.

    >>> largest(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[4.]])
    """
    return token_BLD.masked_fill(mask_BL.unsqueeze(-1) == 0, -torch.inf).amax(1)


def cls(token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The first token's vector.

    >>> cls(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[2.]])
    """
    return token_BLD[:, 0]


def first_counted(token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The vector of the first token that counts, where a prompt on the left does not.

    >>> first_counted(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[0, 1, 1]]))
    tensor([[4.]])
    """
    first_B = mask_BL.argmax(1)
    return token_BLD[torch.arange(token_BLD.shape[0], device=token_BLD.device), first_B]


def last(token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """The last real token's vector, for decoders; texts are padded on the right.

    >>> last(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[4.]])
    """
    place_L = torch.arange(1, mask_BL.shape[1] + 1, device=mask_BL.device)
    last_B = (mask_BL * place_L).amax(1).clamp_min(1) - 1
    return token_BLD[torch.arange(token_BLD.shape[0], device=token_BLD.device), last_B]


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean,
    "cls": cls,
    "last": last,
    "max": largest,
    "mean_sqrt_len": mean_sqrt_len,
    "weightedmean": weightedmean,
}


def pooled(token_BLD: Tensor, mask_BL: Tensor, names: str, *, prompt: bool = True) -> Tensor:
    """Vectors [B, D] by a pooling, or [B, nD] by several (`names`, joined by "+"), one after the
    other. Without `prompt` the mask leaves out a prompt on the left.
    """
    poolings = POOLINGS if prompt else {**POOLINGS, "cls": first_counted}
    parts = [poolings[name](token_BLD, mask_BL) for name in names.split("+")]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


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
