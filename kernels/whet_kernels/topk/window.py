"""What every form of `mine_topk` shares: the window, and the finish that makes candidates exact.

Shape suffixes: Q queries, N corpus rows, D dimensions, C candidates per query, k results per query,
E exclusions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from whet_kernels.topk.exact import pair_scores, slices

FINISH_PAIRS = 1 << 19  # candidates finished at a time: bounds memory, whatever Q is


class Exclude(NamedTuple):
    """Rows that are never a result: query q's are `rows_E[offsets_Q1[q]:offsets_Q1[q + 1]]`."""

    offsets_Q1: np.ndarray
    rows_E: np.ndarray


class TopK(NamedTuple):
    """Results best first (score descending, then row ascending), and why other rows are not among
    them.

    `scores_Qk` float32, NaN where a query has fewer than k; `rows_Qk` int64, -1 there. Every row of
    the corpus is excluded, else above the ceiling, else below the floor, else allowed: the counts
    are exact, int64 [Q].
    """

    scores_Qk: np.ndarray
    rows_Qk: np.ndarray
    excluded_Q: np.ndarray
    above_Q: np.ndarray
    below_Q: np.ndarray


class Window(NamedTuple):
    """The checked form of what is allowed: infinite thresholds where there is none, exclusions
    sorted and distinct.
    """

    ceiling_Q: np.ndarray
    floor_Q: np.ndarray
    exclude: Exclude

    @property
    def excluded_Q(self) -> np.ndarray:
        """How many distinct rows each query excludes."""
        return np.diff(self.exclude.offsets_Q1)

    def take(self, queries: np.ndarray) -> Window:
        """The window of the given queries, in the given order."""
        lengths = self.excluded_Q[queries]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at_E = np.arange(starts[-1]) + np.repeat(
            self.exclude.offsets_Q1[queries] - starts[:-1], lengths
        )
        exclude = Exclude(starts, self.exclude.rows_E[at_E])
        return Window(self.ceiling_Q[queries], self.floor_Q[queries], exclude)

    def without(self, row_QC: np.ndarray) -> Window:
        """The window that excludes these rows (int64, -1 for none) of each query too."""
        query_M, at_M = np.nonzero(row_QC >= 0)
        query_E = np.repeat(np.arange(len(row_QC)), self.excluded_Q)
        rows = 1 + max(row_QC.max(initial=0), self.exclude.rows_E.max(initial=0))
        pair_E = np.concatenate(
            [query_E * rows + self.exclude.rows_E, query_M * rows + row_QC[query_M, at_M]]
        )
        pair_E = np.unique(pair_E)
        offsets_Q1 = np.searchsorted(pair_E, np.arange(len(row_QC) + 1) * rows)
        return self._replace(exclude=Exclude(offsets_Q1.astype(np.int64), pair_E % rows))

    def is_excluded(self, row_QC: np.ndarray) -> np.ndarray:
        """Which candidates are on their query's exclusion list, bool [Q, C]."""
        rows_E = self.exclude.rows_E
        if not len(rows_E) or not row_QC.size:
            return np.zeros(row_QC.shape, bool)
        stride = 1 + max(rows_E.max(), row_QC.max())
        query_Q = np.arange(len(row_QC)) * stride
        pair_E = np.repeat(query_Q, self.excluded_Q) + rows_E
        pair_QC = query_Q[:, None] + row_QC
        at_QC = np.minimum(np.searchsorted(pair_E, pair_QC), len(pair_E) - 1)
        listed_QC: np.ndarray = pair_E[at_QC] == pair_QC
        return listed_QC & (row_QC >= 0)


class Finished(NamedTuple):
    """What the candidates give: exact results, and whether a row that is no candidate could still
    enter them.
    """

    scores_Qk: np.ndarray
    rows_Qk: np.ndarray
    above_Q: np.ndarray  # candidates above the ceiling, not excluded
    at_least_Q: np.ndarray  # candidates at the floor or above, not excluded
    certain_Q: np.ndarray


def window_of(
    queries: int,
    rows: int,
    *,
    ceiling_Q: np.ndarray | None = None,
    floor_Q: np.ndarray | None = None,
    exclude: Exclude | None = None,
) -> Window:
    """The window of so many queries on a corpus of so many rows. ValueError for shapes that do not
    fit, thresholds with NaN, or rows that are not in the corpus.

    >>> window_of(1, 9, exclude=Exclude(np.array([0, 3]), np.array([7, 2, 7]))).exclude.rows_E
    array([2, 7])
    """
    return Window(
        _threshold(ceiling_Q, queries, np.inf, "ceiling_Q"),
        _threshold(floor_Q, queries, -np.inf, "floor_Q"),
        _distinct(exclude, queries, rows),
    )


def check_search(query_QD: Any, corpus_ND: Any, k: int, window: Window | None) -> Window:
    """The window, by default of everything. ValueError for vectors, window or k that do not fit."""
    if query_QD.ndim != 2 or corpus_ND.ndim != 2 or query_QD.shape[1] != corpus_ND.shape[1]:
        raise ValueError(f"queries {query_QD.shape} and corpus {corpus_ND.shape} do not fit")
    if k < 1:
        raise ValueError(f"k is {k}, must be at least 1")
    if window is None:
        return window_of(len(query_QD), len(corpus_ND))
    if len(window.ceiling_Q) != len(query_QD):
        raise ValueError(f"the window is of {len(window.ceiling_Q)} queries, not {len(query_QD)}")
    return window


def _threshold(given_Q: np.ndarray | None, count: int, default: float, name: str) -> np.ndarray:
    if given_Q is None:
        return np.full(count, default, np.float32)
    given_Q = np.asarray(given_Q)
    if given_Q.shape != (count,) or given_Q.dtype != np.float32 or np.isnan(given_Q).any():
        raise ValueError(
            f"{name} must be float32 [{count}] without NaN, is {given_Q.dtype} {given_Q.shape}"
        )
    return given_Q


def _distinct(exclude: Exclude | None, count: int, rows: int) -> Exclude:
    """Sort each query's exclusions and drop repeats, so that their number is a count of rows."""
    if exclude is None:
        return Exclude(np.zeros(count + 1, np.int64), np.empty(0, np.int64))
    offsets_Q1, rows_E = (np.asarray(part, np.int64) for part in exclude)
    if len(offsets_Q1) != count + 1 or offsets_Q1[0] != 0 or offsets_Q1[-1] != len(rows_E):
        raise ValueError(f"exclude has {len(offsets_Q1) - 1} queries, must have {count}")
    if len(rows_E) and not (rows_E.min() >= 0 and rows_E.max() < rows):
        raise ValueError(f"exclude names rows outside the corpus of {rows}")
    query_E = np.repeat(np.arange(count), np.diff(offsets_Q1))
    pair_E = np.unique(query_E * rows + rows_E)
    offsets_Q1 = np.searchsorted(pair_E, np.arange(count + 1) * rows)
    return Exclude(offsets_Q1.astype(np.int64), pair_E % max(rows, 1))


def empty_result(count: int, k: int, window: Window) -> TopK:
    """A result that holds nothing yet."""
    zero_Q = np.zeros(count, np.int64)
    scores_Qk = np.full((count, k), np.nan, np.float32)
    return TopK(
        scores_Qk, np.full((count, k), -1, np.int64), window.excluded_Q, zero_Q, zero_Q.copy()
    )


def finish(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    row_QC: np.ndarray,
    unseen_Q: np.ndarray,
    *,
    k: int,
    window: Window,
) -> Finished:
    """Score the candidates exactly, apply the window, order them, and certify.

    `row_QC` are distinct rows, -1 where there is none. `unseen_Q` (float64) bounds from above the
    exact score of every row that is no candidate and not excluded; -inf where there is no such row
    that the window allows. A query is certain iff its k-th result scores above that bound: equal
    would not do, for a tie goes to the lower row.
    """
    count = len(query_QD)
    out = Finished(
        np.full((count, k), np.nan, np.float32),
        np.full((count, k), -1, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, bool),
    )
    # So many pairs at a time: vectors of all pairs at once would need pairs x D float64.
    for block in slices(count, max(1, FINISH_PAIRS // max(1, row_QC.shape[1]))):
        part = window.take(np.arange(block.start, block.stop))
        done = _finish_block(
            query_QD[block], corpus_ND, row_QC[block], unseen_Q[block], k=k, window=part
        )
        for whole, piece in zip(out, done, strict=True):
            whole[block] = piece
    return out


def _finish_block(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    row_QC: np.ndarray,
    unseen_Q: np.ndarray,
    *,
    k: int,
    window: Window,
) -> Finished:
    open_QC = (row_QC >= 0) & ~window.is_excluded(row_QC)
    query_M, at_M = np.nonzero(open_QC)
    score_QC = np.full(row_QC.shape, -np.inf, np.float32)
    score_QC[query_M, at_M] = pair_scores(query_QD, corpus_ND, query_M, row_QC[query_M, at_M])
    above_QC = open_QC & (score_QC > window.ceiling_Q[:, None])
    at_least_QC = open_QC & (score_QC >= window.floor_Q[:, None])
    keep_QC = at_least_QC & ~above_QC
    scores_Qk, rows_Qk = best_first(score_QC, row_QC, keep_QC, k)
    last_Q = np.nan_to_num(scores_Qk[:, -1].astype(np.float64), nan=-np.inf)
    certain_Q = (unseen_Q == -np.inf) | (last_Q > unseen_Q)
    return Finished(scores_Qk, rows_Qk, above_QC.sum(1), at_least_QC.sum(1), certain_Q)


def best_first(
    score_QC: np.ndarray, row_QC: np.ndarray, keep_QC: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best kept (score descending, row ascending) of each query, padded with NaN and -1.

    >>> scores_QC, rows_QC = np.float32([[0.5, 0.9, 0.9]]), np.array([[4, 8, 6]])
    >>> best_first(scores_QC, rows_QC, np.array([[True, True, True]]), 2)[1]
    array([[6, 8]])
    """
    count, width = row_QC.shape
    scores_Qk = np.full((count, k), np.nan, np.float32)
    rows_Qk = np.full((count, k), -1, np.int64)
    key_QC = np.where(keep_QC, -score_QC, np.float32(np.inf))
    order_QC = np.lexsort((row_QC, key_QC, ~keep_QC), axis=1)[:, :k]
    taken = min(k, width)
    kept = np.take_along_axis(keep_QC, order_QC, 1)
    scores_Qk[:, :taken] = np.where(kept, np.take_along_axis(score_QC, order_QC, 1), np.nan)
    rows_Qk[:, :taken] = np.where(kept, np.take_along_axis(row_QC, order_QC, 1), -1)
    return scores_Qk, rows_Qk


def reached_by_hints(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    k: int,
    window: Window,
    hint_QC: np.ndarray | None,
) -> np.ndarray:
    """A score each query's k-th result surely reaches, float64 [Q]: the k-th best of the hints
    (rows, -1 for none) that are allowed; -inf where there are not as many.
    """
    if hint_QC is None or hint_QC.shape[1] < k or not len(corpus_ND):
        return np.full(len(query_QD), -np.inf)
    hint_QC = np.sort(np.where(hint_QC < len(corpus_ND), hint_QC, -1), axis=1)
    hint_QC[:, 1:][hint_QC[:, 1:] == hint_QC[:, :-1]] = -1  # a row counts once
    nothing_Q = np.full(len(query_QD), -np.inf)
    best = finish(query_QD, corpus_ND, hint_QC, nothing_Q, k=k, window=window)
    return np.nan_to_num(best.scores_Qk[:, -1].astype(np.float64), nan=-np.inf)
