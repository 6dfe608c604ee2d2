"""Random choices that depend on nothing but the seed, the query's id and the refresh.

Each row to mine has a stream of its own: Philox 4x64 (Salmon et al., SC 2011) keyed by a hash of
those three. So a draw does not depend on the other queries, their order, batches, threads or the
number of machines. Only raw 64-bit words are used: numpy promises their values for ever, those of
its distributions not.

Shape suffixes: R rows to mine, N corpus rows, D dimensions, n negatives per row, k survivors per
row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from whet.mining.search import windowed_search
from whet.mining.search.backend import Task
from whet.mining.search.sharded import corpus_scores
from whet_kernels.topk.exact import slices

# below one allowed row in so many, all allowed rows are listed instead of drawn at random
RARE = 64
FEW = 4  # also where fewer than this many times the wanted are allowed
ROUND_ROWS = 4096
LISTED = 1 << 20  # allowed rows listed at a time


@dataclass(frozen=True)
class Streams:
    """The streams of the rows to mine, one for each purpose."""

    seed: int
    refresh: int
    query_ids: Sequence[str]
    ordinal_R: np.ndarray

    def words(self, row: int, purpose: str, start: int, count: int) -> np.ndarray:
        """`count` words, uint64, of a row's stream from word `start` on (a multiple of 4)."""
        name = (
            f"{self.seed}\0{self.refresh}\0{self.ordinal_R[row]}\0{purpose}\0{self.query_ids[row]}"
        )
        key = int.from_bytes(
            blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "little"
        )
        return np.random.Philox(key=key, counter=start // 4).random_raw(count)


def choose(eligible_Rk: np.ndarray, count: int, streams: Streams | None) -> np.ndarray:
    """Which of the eligible places are taken, bool [R, k]: the first `count`, or a uniform sample
    of that size.

    >>> choose(np.array([[True, False, True, True]]), 2, None)
    array([[ True, False,  True, False]])
    """
    if streams is None:
        return eligible_Rk & (np.cumsum(eligible_Rk, axis=1) <= count)
    chosen_Rk = eligible_Rk.copy()
    for row in np.flatnonzero(eligible_Rk.sum(1) > count):
        words_k = streams.words(int(row), "window", 0, eligible_Rk.shape[1])
        places = np.flatnonzero(eligible_Rk[row])
        chosen_Rk[row] = False
        chosen_Rk[row, places[np.argsort(words_k[places], kind="stable")[:count]]] = True
    return chosen_Rk


def uniform_rows(
    task: Task,
    want_R: np.ndarray,
    *,
    allowed_R: np.ndarray,
    streams: Streams,
    purpose: str,
) -> np.ndarray:
    """For each row a uniform sample, without repeats, of the corpus rows its window allows: int64
    [R, n], padded by -1.

    `allowed_R` says how many there are. Rows are drawn and refused if not allowed; where few are
    allowed, they are listed and ranked by random words instead. Which of the two is decided by the
    row's own numbers.
    """
    corpus, count = task.corpus, len(task.queries)
    rows_Rn = np.full((count, int(want_R.max(initial=0))), -1, np.int64)
    # Drawing needs corpus / allowed tries a hit, and more as the last of few are left.
    rare_R = (allowed_R * RARE < len(corpus)) | (allowed_R < FEW * want_R)
    todo_R = want_R > 0
    for part in slices(count, ROUND_ROWS):
        rows = part.start + np.flatnonzero((todo_R & ~rare_R)[part])
        _draw(rows_Rn, rows, want_R, task, (streams, purpose))
    listed = np.flatnonzero(todo_R & rare_R & (allowed_R > 0))
    # Rows that allow about as many share a batch: k is the largest of it.
    listed = listed[np.argsort(allowed_R[listed], kind="stable")]
    for rows in _batches(listed, allowed_R):
        k = int(allowed_R[rows].max())
        search = windowed_search(task.take(rows), k, backend="blas")
        for row, some_k in zip(rows, search.top.rows_Qk, strict=True):
            some = some_k[some_k >= 0]
            words = streams.words(int(row), purpose, 0, len(some))
            # Ranking by random words draws evenly without numpy's distributions, which may change.
            some = some[np.argsort(words, kind="stable")[: want_R[row]]]
            rows_Rn[row, : len(some)] = some
    return rows_Rn


def _batches(rows: np.ndarray, allowed_R: np.ndarray) -> list[np.ndarray]:
    """Rows in order, as many at a time as list at most LISTED allowed rows (at least one)."""
    batches: list[np.ndarray] = []
    while len(rows):
        together = np.arange(1, len(rows) + 1) * allowed_R[rows]
        size = max(1, int(np.searchsorted(together, LISTED, side="right")))
        batches.append(rows[:size])
        rows = rows[size:]
    return batches


def _draw(
    rows_Rn: np.ndarray,
    rows: np.ndarray,
    want_R: np.ndarray,
    task: Task,
    stream: tuple[Streams, str],
) -> None:
    """Draw corpus rows until every row of negatives has what it wants; each has at least that many
    to find.
    """
    streams, purpose = stream
    # words per round: twice what is wanted, in Philox blocks of 4
    step = 4 * -(-rows_Rn.shape[1] // 2)
    start = 0
    while len(rows):
        words = np.stack([streams.words(int(row), purpose, start, step) for row in rows])
        # The modulo favours low rows by less than N / 2^64.
        drawn = (words % np.uint64(len(task.corpus))).astype(np.int64)
        part = task.take(rows)
        query_M = np.repeat(np.arange(len(rows)), step)
        score = corpus_scores(part.query_QD, task.corpus, query_M, drawn.ravel()).reshape(
            drawn.shape
        )
        window = part.window
        good = (score <= window.ceiling_Q[:, None]) & (score >= window.floor_Q[:, None])
        good &= ~window.is_excluded(drawn)
        for i, row in enumerate(rows):
            held = rows_Rn[row][rows_Rn[row] >= 0]
            both = np.concatenate([held, drawn[i][good[i]]])
            _, first = np.unique(both, return_index=True)
            both = both[np.sort(first)][: want_R[row]]
            rows_Rn[row, : len(both)] = both
        rows = rows[(rows_Rn[rows] >= 0).sum(1) < want_R[rows]]
        start += step
