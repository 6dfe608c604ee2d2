"""InfoNCE with known positives masked.

Shape suffixes: B pairs, C candidate documents (each once), D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from whet.errors import ConfigError
from whet.model.pooling import to_unit_length


@dataclass(frozen=True)
class Targets:
    """What of the B x C similarities is positive and what must not count.

    `column_B` is each pair's positive among the candidates. `known_BC` marks every known positive
    of the pair's query (and its duplicates), the pair's own included: none of them is ever a
    negative.
    """

    column_B: Tensor
    known_BC: Tensor

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        return Targets(self.column_B.to(device), self.known_BC.to(device))


def info_nce(
    query_BD: Tensor,
    doc_CD: Tensor,
    targets: Targets,
    *,
    temperature: float,
    symmetric: bool = False,
) -> Tensor:
    """Mean over pairs of -log( e^(s+/t) / (e^(s+/t) + sum over negatives of e^(s-/t)) ), a scalar.

    van den Oord et al., arXiv 1807.03748, equation 4, with in-batch negatives as in DPR (arXiv
    2004.04906, section 3.2). A query's other known positives leave the sum. With `symmetric` the
    mean of it and of the same with each positive against all queries, leaving out queries the
    document is also relevant to.
    """
    logit_BC = query_BD @ doc_CD.T / temperature
    own_BC = F.one_hot(targets.column_B, doc_CD.shape[0]).bool()
    loss = F.cross_entropy(
        logit_BC.masked_fill(targets.known_BC & ~own_BC, float("-inf")), targets.column_B
    )
    if not symmetric:
        return loss
    logit_BB = logit_BC[:, targets.column_B].T  # row: a pair's positive, column: a query
    known_BB = targets.known_BC[:, targets.column_B].T
    row_B = torch.arange(len(logit_BB), device=logit_BB.device)
    own_BB = torch.eye(len(logit_BB), dtype=torch.bool, device=logit_BB.device)
    return 0.5 * (
        loss + F.cross_entropy(logit_BB.masked_fill(known_BB & ~own_BB, float("-inf")), row_B)
    )


def matryoshka_info_nce(
    query_BD: Tensor,
    doc_CD: Tensor,
    targets: Targets,
    *,
    dims: Sequence[int],
    temperature: float,
    symmetric: bool = False,
) -> Tensor:
    """InfoNCE averaged over the whole vectors and their prefixes of the given lengths, each made
    unit length.

    Matryoshka representation learning (Kusupati et al., arXiv 2205.13147, equation 1, equal
    weights). Raises ConfigError for a prefix longer than the vector.
    """
    full = query_BD.shape[1]
    if any(not 0 < dim <= full for dim in dims):
        raise ConfigError(
            f"loss.matryoshka_dims={list(dims)}: this model's vectors have {full} dimensions. "
            f"Give lengths from 1 to {full}."
        )
    total = info_nce(query_BD, doc_CD, targets, temperature=temperature, symmetric=symmetric)
    shorter = [dim for dim in dims if dim < full]
    for dim in shorter:
        total = total + info_nce(
            to_unit_length(query_BD[:, :dim]),
            to_unit_length(doc_CD[:, :dim]),
            targets,
            temperature=temperature,
            symmetric=symmetric,
        )
    return total / (1 + len(shorter))
