"""Likely false negatives left out of a batch, by the similarities of a guide.

Shape suffixes: B pairs, C candidate documents, D dimensions of the guide, M known positives, R rows
of a block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whet.processes.devices import sent

if TYPE_CHECKING:
    from whet.loss.infonce import Targets

CELLS = 1 << 24  # similarities of the guide at a time


@dataclass(frozen=True)
class GuideVectors:
    """The guide's vectors of each pair's query and of the candidates."""

    query_BD: Tensor
    doc_CD: Tensor

    def to(self, device: torch.device) -> GuideVectors:
        """The same on another device."""
        return GuideVectors(sent(self.query_BD, device), sent(self.doc_CD, device))


def without_likely_positives(targets: Targets, margin: float) -> Targets:
    """The targets in which no candidate is a negative that the guide scores above the pair's own
    document minus `margin`; as they are where there is no guide.

    GISTEmbed (Solatorio, arXiv 2402.16829), between queries and documents, with a margin as
    sentence-transformers has (margin_strategy="absolute"). A document left out for a query is left
    out for it in the symmetric loss as well.
    """
    guide = targets.guide
    if guide is None:
        return targets
    step = max(1, CELLS // max(1, len(guide.doc_CD)))
    rows, columns = [], []
    for start in range(0, len(guide.query_BD), step):
        sim_RC = guide.query_BD[start : start + step] @ guide.doc_CD.T
        own_R1 = sim_RC.gather(1, targets.column_B[start : start + step, None])
        row_X, column_X = (sim_RC > own_R1 - margin).nonzero(as_tuple=True)
        rows.append(row_X + start)
        columns.append(column_X)
    pairs, candidates = len(guide.query_BD), len(guide.doc_CD)
    known_B = targets.offsets_B1.diff()
    row_B = torch.arange(pairs, device=known_B.device)
    known_M = torch.repeat_interleave(row_B, known_B, output_size=len(targets.columns_M))
    key_X = torch.cat(rows) * candidates + torch.cat(columns)
    key_M = torch.cat([known_M * candidates + targets.columns_M, key_X]).unique()
    ends_B = torch.bincount(key_M // candidates, minlength=pairs).cumsum(0)
    offsets_B1 = torch.cat([ends_B.new_zeros(1), ends_B])
    return replace(targets, offsets_B1=offsets_B1, columns_M=key_M % candidates, guide=None)
