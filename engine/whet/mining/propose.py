"""Candidates in the order negatives are taken from: those that survive exclusions and window, and
the others counted.

Shape suffixes: R rows to mine, N corpus rows, D dimensions, k survivors per row, C candidates, E
exclusions, F found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whet.config import MiningConfig
from whet.errors import MiningError
from whet.mining.search import windowed_search
from whet.mining.search.backend import Task, search_task
from whet.mining.search.sharded import corpus_scores
from whet_kernels.topk.exact import slices

# Scores of (query row, document row) pairs, float [M], batched as it likes.
Rescore = Callable[[np.ndarray, np.ndarray], np.ndarray]

BEFORE_NUMBERS = 1 << 20  # comparisons of exclusions and survivors at a time
PROPOSED = 100  # candidates per query that a cross-encoder scores, where range_max does not say


@dataclass(frozen=True)
class Survivors:
    """Allowed documents of each row, best first, and why the others are not among them.

    `ranks_Rk` counts from 0 over the whole corpus before any filter. Every document of the corpus
    is excluded, above the ceiling, below the floor, allowed, or unproposed: never scored (by a
    cross-encoder, or with backend=ivf), `all_proposed` is false.
    """

    rows_Rk: np.ndarray
    scores_Rk: np.ndarray
    ranks_Rk: np.ndarray
    excluded_R: np.ndarray
    above_R: np.ndarray
    below_R: np.ndarray
    unproposed_R: np.ndarray
    all_proposed: bool
    backend: str
    why: str

    def eligible(self, policy: MiningConfig) -> np.ndarray:
        """Which survivors are in the rank window, bool [R, k]: counted among survivors, or raw."""
        place_Rk = np.broadcast_to(np.arange(self.rows_Rk.shape[1]), self.rows_Rk.shape)
        rank_Rk = self.ranks_Rk if policy.rank_window == "raw" else place_Rk
        inside = (self.rows_Rk >= 0) & (rank_Rk >= policy.range_min)
        return inside if policy.range_max is None else inside & (rank_Rk < policy.range_max)


def survivors_by_vector(task: Task, k: int, backend: str) -> Survivors:
    """The k best survivors by dot product, exact."""
    search = windowed_search(task, k, backend)
    top = search.top
    place_Rk = np.broadcast_to(np.arange(k), top.rows_Qk.shape)
    rank_Rk = place_Rk + top.above_Q[:, None] + excluded_before(task, top.rows_Qk, top.scores_Qk)
    if search.unseen_Q is not None:
        rank_Rk = np.full_like(top.rows_Qk, -1)  # unknown
    return Survivors(
        top.rows_Qk,
        top.scores_Qk,
        np.where(top.rows_Qk >= 0, rank_Rk, -1),
        top.excluded_Q,
        top.above_Q,
        top.below_Q,
        np.zeros(len(top.rows_Qk), np.int64) if search.unseen_Q is None else search.unseen_Q,
        search.unseen_Q is None,
        search.backend,
        search.why,
    )


def excluded_before(task: Task, rows_Rk: np.ndarray, scores_Rk: np.ndarray) -> np.ndarray:
    """How many excluded documents rank before each found one, int64 [R, k].

    With it a survivor's raw rank is exact without a second search: before it stand the survivors
    before it, all that is above the ceiling, these, and nothing else.
    """
    count_Rk = np.zeros(rows_Rk.shape, np.int64)
    offsets_R1, rows_E = task.window.exclude
    query_E = np.repeat(np.arange(len(rows_Rk)), np.diff(offsets_R1))
    score_E = corpus_scores(task.query_QD, task.corpus, query_E, rows_E)
    for span in slices(len(rows_E), max(1, BEFORE_NUMBERS // max(1, rows_Rk.shape[1]))):
        query, score_E1, row_E1 = query_E[span], score_E[span, None], rows_E[span, None]
        score_Ek = scores_Rk[query]  # NaN where there is none: never before
        before_Ek = score_E1 > score_Ek
        before_Ek |= (score_E1 == score_Ek) & (row_E1 < rows_Rk[query])
        first = np.flatnonzero(np.diff(query, prepend=-1))
        count_Rk[query[first]] += np.add.reduceat(before_Ek, first, axis=0, dtype=np.int64)
    return count_Rk


def survivors_by_cross_encoder(
    task: Task, query_rows_R: np.ndarray, policy: MiningConfig, rescore: Rescore
) -> Survivors:
    """The best `range_max` (or 100, or ten times what is asked) by dot product, filtered and
    ordered by new scores.
    """
    asked = policy.range_min + policy.num_negatives
    # Many of the proposed fall to the new window, so far more are taken than are asked for.
    depth = policy.range_max or max(PROPOSED, 10 * asked)
    depth = max(1, min(depth, len(task.corpus)))
    # The window is for the new scores, which are on another scale; exclusions are not.
    unfiltered = search_task(task.queries, task.corpus, exclude=task.window.exclude)
    proposed = survivors_by_vector(unfiltered, depth, policy.backend)
    proposed_RC = proposed.rows_Rk >= 0
    score_RC = np.full(proposed_RC.shape, np.nan, np.float32)
    places = np.nonzero(proposed_RC)
    score_RC[places] = rescored(rescore, query_rows_R[places[0]], proposed.rows_Rk[places])
    above_RC = proposed_RC & (score_RC > task.window.ceiling_Q[:, None])
    below_RC = proposed_RC & ~above_RC & (score_RC < task.window.floor_Q[:, None])
    keep_RC = proposed_RC & ~above_RC & ~below_RC
    # What is kept first, then by score, ties by the row in the corpus, as everywhere.
    order_RC = np.lexsort((proposed.rows_Rk, -np.nan_to_num(score_RC), ~keep_RC), axis=1)

    def ordered(values_RC: np.ndarray, missing: float) -> np.ndarray:
        kept = np.where(keep_RC, values_RC, np.array(missing, values_RC.dtype))
        return np.take_along_axis(kept, order_RC, 1)

    return Survivors(
        ordered(proposed.rows_Rk, -1),
        ordered(score_RC, np.nan),
        ordered(proposed.ranks_Rk, -1),
        proposed.excluded_R,
        above_RC.sum(1),
        below_RC.sum(1),
        len(task.corpus) - proposed.excluded_R - proposed_RC.sum(1),
        False,
        proposed.backend,
        proposed.why,
    )


def rescored(rescore: Rescore, query_rows_M: np.ndarray, doc_rows_M: np.ndarray) -> np.ndarray:
    """Float32 [M] of the pairs, checked."""
    score_M = np.asarray(rescore(query_rows_M, doc_rows_M), np.float32)
    if score_M.shape != query_rows_M.shape:
        raise MiningError(
            f"the cross-encoder gave scores {score_M.shape} for {len(query_rows_M)} pairs. Give "
            "one a pair."
        )
    bad = np.flatnonzero(~np.isfinite(score_M))
    if len(bad):
        query, doc = int(query_rows_M[bad[0]]), int(doc_rows_M[bad[0]])
        raise MiningError(
            f"the cross-encoder gave {score_M[bad[0]]} for query row {query}, document row {doc}. "
            "Use float32, or another model."
        )
    return score_M
