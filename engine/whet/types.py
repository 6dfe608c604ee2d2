"""The few records every module speaks in.

Shape suffixes: Q queries, N documents of the corpus, M judgments, K negatives per row, D
dimensions, R rows of negatives. A *row* is a position in the corpus or query table (int64); an *id*
is the user's own string.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it was given: the bytes of its file, and the text beside it ("" for none)."""

    payload: bytes
    text: str = ""


Item = str | Picture  # what an encoder makes a vector of


class Texts(Protocol):
    """A table of ids and texts by row: `whet.data.table.TextTable`, or what stands in for it."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """The ids in order."""
        ...

    def id(self, row: int) -> str:
        """The id of a row."""
        ...

    def text(self, row: int) -> str:
        """The text of a row."""
        ...

    def texts(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The texts of the rows; of pictures those that stand beside them."""
        ...

    def items(self, rows: np.ndarray | Sequence[int]) -> Sequence[Item]:
        """What an encoder makes vectors of: the texts of the rows, or the pictures."""
        ...

    def ids_of(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The ids of the rows."""
        ...

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """The rows of the ids, int64, -1 where unknown."""
        ...


@dataclass(frozen=True)
class Qrels:
    """Relevance judgments of one split, sorted by query row, then document row.

    `relevance_M` is graded; at least 1 means relevant, 0 or less judged not relevant.
    """

    query_rows_M: np.ndarray
    doc_rows_M: np.ndarray
    relevance_M: np.ndarray

    def __len__(self) -> int:
        return len(self.query_rows_M)

    def __repr__(self) -> str:
        return f"Qrels({len(self):,} judgments of {len(self.query_rows):,} queries)"

    @property
    def query_rows(self) -> np.ndarray:
        """The judged query rows, ascending, each once."""
        return np.unique(self.query_rows_M)

    def only(self, keep_M: np.ndarray) -> Qrels:
        """The judgments where `keep_M` is true."""
        return Qrels(self.query_rows_M[keep_M], self.doc_rows_M[keep_M], self.relevance_M[keep_M])

    def relevant(self, at_least: float = 1.0) -> Qrels:
        """Only the judgments that say relevant."""
        return self.only(self.relevance_M >= at_least)


@dataclass(frozen=True)
class Embeddings:
    """Ids and their vectors, row by row: `vectors` is float32 [N, D], possibly a memory map."""

    ids: Sequence[str]
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"Embeddings({len(self):,} vectors of {self.vectors.shape[1]} dimensions)"

    def take(self, rows: np.ndarray) -> Embeddings:
        """The given rows, in the given order."""
        return Embeddings([self.ids[int(row)] for row in rows], np.asarray(self.vectors[rows]))


@dataclass(frozen=True)
class CorpusShard:
    """A process's part of a corpus: the ids of all N documents, the vectors of those from row
    `start` on, float32 [n, D].
    """

    ids: Sequence[str]
    vectors: np.ndarray
    start: int

    def __len__(self) -> int:
        return len(self.ids)

    def holds(self, rows: np.ndarray) -> np.ndarray:
        """Which of the corpus rows are in this part."""
        return (rows >= self.start) & (rows < self.start + len(self.vectors))


@dataclass(frozen=True)
class Positives:
    """The one table of known positives, for mining and for masking false negatives in a batch.

    CSR over query rows: query q's positives are `doc_rows_P[offsets_Q1[q]:offsets_Q1[q + 1]]`,
    ascending. `group_of_N` numbers documents of equal normalised text alike, so that a positive's
    duplicates count as it. `own_Q` is the group of the documents that repeat a query's own text, -1
    where there are none: they are no positives, and no negatives of it either.
    """

    offsets_Q1: np.ndarray
    doc_rows_P: np.ndarray
    group_of_N: np.ndarray
    own_Q: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets_Q1) - 1

    def __repr__(self) -> str:
        return f"Positives({len(self.doc_rows_P):,} of {len(self):,} queries)"

    def of(self, query_row: int) -> np.ndarray:
        """Document rows of one query's positives."""
        return self.doc_rows_P[self.offsets_Q1[query_row] : self.offsets_Q1[query_row + 1]]

    def take(self, query_rows: np.ndarray) -> Positives:
        """The table of the given queries only, renumbered 0, 1, ... in the order given."""
        parts = [self.of(int(row)) for row in query_rows]
        offsets_Q1 = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(
            np.int64
        )
        rows = np.concatenate(parts) if parts else np.empty(0, np.int64)
        own_Q = None if self.own_Q is None else self.own_Q[query_rows]
        return Positives(offsets_Q1, rows.astype(np.int64), self.group_of_N, own_Q)

    def own_of(self, query_row: int) -> int:
        """The group of the documents that repeat one query's text, -1 where there are none."""
        return -1 if self.own_Q is None else int(self.own_Q[query_row])


@dataclass(frozen=True)
class Negatives:
    """Mined negatives: row r belongs to query `query_rows_R[r]`, best first, short rows padded.

    `doc_rows_RK` is -1 where a row is short (and `scores_RK` NaN there). `positive_scores_R` is the
    reference score the window was set from; `ranks_RK` counts from 0 over the whole corpus before
    any filter, -1 where unknown.
    """

    query_rows_R: np.ndarray
    doc_rows_RK: np.ndarray
    scores_RK: np.ndarray
    ranks_RK: np.ndarray
    positive_scores_R: np.ndarray

    def __len__(self) -> int:
        return len(self.query_rows_R)

    def __repr__(self) -> str:
        return f"Negatives({int(self.found_R.sum()):,} in {len(self):,} rows)"

    @property
    def found_R(self) -> np.ndarray:
        """How many negatives each row holds."""
        found_R: np.ndarray = (self.doc_rows_RK >= 0).sum(axis=1)
        return found_R
