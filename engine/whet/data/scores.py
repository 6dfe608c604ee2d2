"""A teacher's scores that came with the data, found by query, positive and document.

Shape suffixes: M scores, X asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from whet.data.readers.records import Reading
from whet.data.table import TextTable, save_array
from whet.storage.blocks import blocks_in, numbers_of

ROWS, VALUES = "teacher-rows.npy", "teacher-scores.npy"


@dataclass(frozen=True)
class TeacherScores:
    """Score m is of document `doc_rows_M[m]` for query `query_rows_M[m]`, beside the positive
    `positive_rows_M[m]`; sorted by query, positive, document, each once. `score_M` is float32.
    """

    query_rows_M: np.ndarray
    positive_rows_M: np.ndarray
    doc_rows_M: np.ndarray
    score_M: np.ndarray

    def __len__(self) -> int:
        return len(self.score_M)

    @property
    def digest(self) -> str:
        """The SHA-256 of rows and scores."""
        digest = sha256()
        for column in (self.query_rows_M, self.positive_rows_M, self.doc_rows_M):
            digest.update(np.ascontiguousarray(column, "<i8").data)
        digest.update(np.ascontiguousarray(self.score_M, "<f4").data)
        return digest.hexdigest()

    def of(self, query_X: np.ndarray, positive_X: np.ndarray, doc_X: np.ndarray) -> np.ndarray:
        """Float32 [X], NaN where there is no score (a row of -1 has none).

        >>> rows, score = (np.array([row]) for row in (3, 5, 7)), np.array([0.5], np.float32)
        >>> TeacherScores(*rows, score).of(np.array([3, 3]), np.array([5, 5]), np.array([7, 5]))
        array([0.5, nan], dtype=float32)
        """
        low_X, high_X = np.zeros(len(query_X), np.int64), np.full(len(query_X), len(self), np.int64)
        columns = (self.query_rows_M, self.positive_rows_M, self.doc_rows_M)
        for column_M, wanted_X in zip(columns, (query_X, positive_X, doc_X), strict=True):
            low_X, high_X = _narrowed(column_M, wanted_X, low_X, high_X)
        found_X = low_X < high_X
        score_X = np.full(len(query_X), np.nan, np.float32)
        score_X[found_X] = self.score_M[low_X[found_X]]
        return score_X


def _narrowed(
    column_M: np.ndarray, wanted_X: np.ndarray, low_X: np.ndarray, high_X: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The part of each range [low, high), in which the column ascends, that holds the value."""
    return (
        _first(column_M, wanted_X, low_X, high_X),
        _first(column_M, wanted_X + 1, low_X, high_X),
    )


def _first(
    column_M: np.ndarray, least_X: np.ndarray, low_X: np.ndarray, high_X: np.ndarray
) -> np.ndarray:
    """Where in each range the first value of at least so much stands: all searched at once."""
    low_X, high_X = low_X.copy(), high_X.copy()
    while True:
        open_X = np.flatnonzero(low_X < high_X)
        if not len(open_X):
            return low_X
        middle = (low_X[open_X] + high_X[open_X]) // 2
        less = column_M[middle] < least_X[open_X]
        low_X[open_X[less]] = middle[less] + 1
        high_X[open_X[~less]] = middle[~less]


def keep_scores(
    spool: Path, folder: Path, queries: TextTable, corpus: TextTable, reading: Reading
) -> None:
    """Write the scores of an Arrow file of query, positive, document, score, place as rows. Of two
    that differ the first is kept, and that is told.
    """
    columns, scores = [np.empty((4, 0), np.int64)], [np.empty(0, np.float32)]
    for batch in blocks_in(spool):
        query_M = queries.rows_of(batch.column(0).to_pylist())
        positive_M, doc_M = (corpus.rows_of(batch.column(n).to_pylist()) for n in (1, 2))
        rows_4M = np.stack([query_M, positive_M, doc_M, numbers_of(batch.column(4))])
        known_M = (rows_4M[:3] >= 0).all(0)  # a text at fault was left out, and told
        columns.append(rows_4M[:, known_M])
        scores.append(numbers_of(batch.column(3))[known_M].astype(np.float32))
        queries.give_back()
        corpus.give_back()
    rows_4M, score_M = np.concatenate(columns, axis=1), np.concatenate(scores)
    order = np.lexsort((rows_4M[2], rows_4M[1], rows_4M[0]))  # stable: the first given stays first
    rows_4M, score_M = rows_4M[:, order], score_M[order]
    again_M = np.zeros(len(order), bool)
    again_M[1:] = (rows_4M[:3, 1:] == rows_4M[:3, :-1]).all(0)
    differs = np.flatnonzero(again_M[1:] & (score_M[1:] != score_M[:-1])) + 1
    for at in differs[:1].tolist():
        what = f"a score {score_M[at]:g} here, and {score_M[at - 1]:g} of the same documents before"
        reading.add("teacher scores that differ", int(rows_4M[3, at]), what)
        reading.findings.more("teacher scores that differ", len(differs) - 1)
    if len(order):
        save_array(folder / ROWS, np.ascontiguousarray(rows_4M[:3, ~again_M]))
        save_array(folder / VALUES, score_M[~again_M])


def kept_scores(folder: Path) -> TeacherScores | None:
    """The scores in a folder of tables; None where the data came with none."""
    if not (folder / ROWS).exists():
        return None
    rows_3M = np.load(folder / ROWS, mmap_mode="r")
    values_M = np.load(folder / VALUES, mmap_mode="r")
    return TeacherScores(rows_3M[0], rows_3M[1], rows_3M[2], values_M)
