"""What a batch tells the loss besides who is positive: gains, scores of a teacher, vectors of a
guide.

Shape suffixes: P pairs in all, B pairs per step, L documents of a pair's list (its own first), C
candidate documents, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from whet.config import FitConfig
from whet.loss.distillation import Taught
from whet.loss.infonce import Targets
from whet.training.batches.guide import FixedEncoder, documents_of, guide_of
from whet.training.batches.order import Order, pairs_read, total_steps
from whet.training.batches.teacher import Teacher, teacher_of

if TYPE_CHECKING:
    from whet.data.load import Dataset


@dataclass(frozen=True)
class Lists:
    """The documents of some pairs: rows of query and own document, and of negatives, -1 where
    there is none.
    """

    query_rows_B: np.ndarray
    doc_rows_BL: np.ndarray

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query, positive and document of each place, flat."""
        width = self.doc_rows_BL.shape[1]
        positive_B = self.doc_rows_BL[:, 0]
        return (
            np.repeat(self.query_rows_B, width),
            np.repeat(positive_B, width),
            self.doc_rows_BL.ravel(),
        )


@dataclass(frozen=True)
class Aids:
    """Those of a job. Without any, targets stay as they are."""

    config: FitConfig
    teacher: Teacher | None = None
    guide: FixedEncoder | None = None
    documents: FixedEncoder | None = None  # who gives them vectors, where the query side learns

    @property
    def wanted(self) -> bool:
        """Whether a model or a table is asked about documents."""
        asked = self.teacher, self.guide, self.documents
        return any(one is not None for one in asked)

    def pairs(self, order: Order) -> np.ndarray:
        """Which pairs the planned steps read."""
        return pairs_read(order, total_steps(order, self.config.trainer))

    def prepare(self, lists: Lists, group_of_N: np.ndarray) -> None:
        """Be ready for pairs that steps will read; every process calls it alike."""
        if self.teacher is not None:
            self.teacher.prepare(*lists.cells)
        docs = np.unique(group_of_N[lists.doc_rows_BL[lists.doc_rows_BL >= 0]])
        if self.guide is not None:
            self.guide.prepare(query=lists.query_rows_B, document=docs)
        if self.documents is not None:
            self.documents.prepare(document=docs)

    def added(
        self, targets: Targets, lists: Lists, column_BL: np.ndarray, group_C: np.ndarray
    ) -> Targets:
        """A batch's targets with what is known of them. `column_BL` are the candidates in the
        lists' places, any where there is no document; `group_C` the candidates' groups.
        """
        if self.teacher is not None:
            score_BL = self.teacher.scores(*lists.cells).reshape(column_BL.shape)
            no_negative_BL = _no_negatives(targets, column_BL, len(group_C))
            score_BL[no_negative_BL] = np.nan
            taught = Taught(torch.from_numpy(column_BL), torch.from_numpy(score_BL))
            targets = replace(targets, taught=taught)
        if self.guide is not None:
            vectors = self.guide.guiding(lists.query_rows_B, group_C)
            targets = replace(targets, guide=vectors)
        return targets


def _no_negatives(targets: Targets, column_BL: np.ndarray, candidates: int) -> np.ndarray:
    """Places that are not counted: known positives, and documents that stand there before; never
    the first.
    """
    row_B1 = np.arange(len(column_BL))[:, None]
    key_BL = row_B1 * candidates + column_BL
    offsets_B1, columns_M = targets.offsets_B1.numpy(), targets.columns_M.numpy()
    known_M = np.repeat(np.arange(len(column_BL)), np.diff(offsets_B1)) * candidates + columns_M
    out_BL = np.isin(key_BL, known_M)
    first = np.unique(key_BL.ravel(), return_index=True)[1]
    again_BL = np.ones(key_BL.size, bool)
    again_BL[first] = False
    out_BL |= again_BL.reshape(key_BL.shape)
    out_BL[:, 0] = False
    return out_BL


def gains_of(relevance_P: np.ndarray, kind: str) -> np.ndarray | None:
    """How much a pair counts by the grade of its document, float32 [P]; None: all alike.

    Linear is the grade itself, as the measures here count it; exponential is 2^grade - 1 (Burges et
    al., ICML 2005), as many other tools do.

    >>> gains_of(np.array([1, 3]), "linear"), gains_of(np.array([1, 3]), "exponential")
    (array([1., 3.], dtype=float32), array([1., 7.], dtype=float32))
    """
    if kind == "off":
        return None
    grade_P = np.asarray(relevance_P, np.float32)
    return grade_P if kind == "linear" else np.exp2(grade_P) - 1


def aids_of(config: FitConfig, data: Dataset, store: Path) -> Aids:
    """What the loss of a job is helped by; `store` is where vectors of the base model are kept."""
    given = config, data, store
    return Aids(config, teacher_of(*given), guide_of(*given), documents_of(*given))
