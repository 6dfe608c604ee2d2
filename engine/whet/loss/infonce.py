"""InfoNCE with known positives masked, over whole vectors and their prefixes.

Shape suffixes: B pairs, C candidate documents (each once), D dimensions, M known positives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whet.errors import ConfigError
from whet.loss.distillation import Taught
from whet.loss.guided import GuideVectors
from whet.model.pooling import to_unit_length
from whet.processes.devices import sent
from whet_kernels.infonce.fused import fused_info_nce, info_nce_reference
from whet_kernels.infonce.mask import dense_mask

# Similarities (pairs x documents) from which "auto" does not hold them all: 64 MiB in float32, and
# the plain loss keeps about six such matrices. Below, it is the faster one and the memory is small.
DENSE_AT_MOST = 1 << 24


@dataclass(frozen=True)
class Targets:
    """What of the B x C similarities is positive and what must not count.

    `column_B` is each pair's positive among the candidates. Every known positive of the pair's
    query among them (and its duplicates, and the pair's own) is `columns_M[offsets_B1[b] :
    offsets_B1[b + 1]]`: none of them is ever a negative. `gain_B` is how much each pair counts
    (None: all alike), `taught` what a teacher says of them, `guide` the vectors of a guide (None:
    there is none).
    """

    column_B: Tensor
    offsets_B1: Tensor
    columns_M: Tensor
    gain_B: Tensor | None = None
    taught: Taught | None = None
    guide: GuideVectors | None = None

    @classmethod
    def of_mask(cls, column_B: Tensor, known_BC: Tensor) -> Targets:
        """The same from a bool matrix [B, C]."""
        ends_B = known_BC.sum(1).cumsum(0)
        return cls(column_B, torch.cat([ends_B.new_zeros(1), ends_B]), known_BC.nonzero()[:, 1])

    def mask(self, candidates: int) -> Tensor:
        """The known positives as a bool matrix [B, candidates]."""
        return dense_mask((self.offsets_B1, self.columns_M), candidates)

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        return Targets(
            sent(self.column_B, device),
            sent(self.offsets_B1, device),
            sent(self.columns_M, device),
            None if self.gain_B is None else sent(self.gain_B, device),
            None if self.taught is None else self.taught.to(device),
            None if self.guide is None else self.guide.to(device),
        )


def info_nce(
    query_BD: Tensor,
    doc_CD: Tensor,
    targets: Targets,
    *,
    temperature: float,
    symmetric: bool = False,
    fused: str = "auto",
    products: torch.dtype | None = None,
) -> Tensor:
    """Mean over pairs of -log( e^(s+/t) / (e^(s+/t) + sum over negatives of e^(s-/t)) ), a scalar.

    van den Oord et al., arXiv 1807.03748, equation 4, with in-batch negatives as in DPR (arXiv
    2004.04906, section 3.2). A query's other known positives leave the sum. With `symmetric` the
    mean of it and of the same with each positive against all queries, leaving out queries the
    document is also relevant to. With `targets.gain_B` the mean is weighted by it. `fused` (auto,
    always, never): the same tile by tile, without the B x C similarities in memory; auto where
    there are over 2^24 of them. Tiles multiply in the type `products` (None: the vectors' own).
    Tiles know no gains.
    """
    known = targets.offsets_B1, targets.columns_M
    given = query_BD, doc_CD, targets.column_B, known
    if targets.gain_B is None and uses_tiles(fused, query_BD.shape[0] * doc_CD.shape[0]):
        return fused_info_nce(
            *given, temperature=temperature, symmetric=symmetric, products=products
        )
    return info_nce_reference(
        *given, temperature=temperature, symmetric=symmetric, weight_B=targets.gain_B
    )


def uses_tiles(fused: str, similarities: int) -> bool:
    """Whether the loss goes by tiles: `fused` is always, or auto and there are too many.

    >>> uses_tiles("always", 1), uses_tiles("auto", 1), uses_tiles("never", 10**12)
    (True, False, False)
    """
    return fused == "always" or (fused == "auto" and similarities > DENSE_AT_MOST)


def matryoshka_info_nce(
    query_BD: Tensor,
    doc_CD: Tensor,
    targets: Targets,
    *,
    dims: Sequence[int],
    temperature: float,
    symmetric: bool = False,
    fused: str = "auto",
    products: torch.dtype | None = None,
) -> Tensor:
    """InfoNCE averaged over the whole vectors and prefixes of them (`over_prefixes`)."""

    def of(query: Tensor, doc: Tensor) -> Tensor:
        return info_nce(
            query,
            doc,
            targets,
            temperature=temperature,
            symmetric=symmetric,
            fused=fused,
            products=products,
        )

    return over_prefixes(of, query_BD, doc_CD, dims)


def over_prefixes(
    loss: Callable[[Tensor, Tensor], Tensor],
    query_BD: Tensor,
    doc_CD: Tensor,
    dims: Sequence[int],
) -> Tensor:
    """A loss averaged over the whole vectors and their prefixes of the given lengths, each made
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
    total = loss(query_BD, doc_CD)
    # The whole length is counted once, whether it is named or not.
    shorter = [dim for dim in dims if dim < full]
    for dim in shorter:
        total = total + loss(to_unit_length(query_BD[:, :dim]), to_unit_length(doc_CD[:, :dim]))
    return total / (1 + len(shorter))
