"""Exact top-k of a dot product among the rows a window and an exclusion list allow.

Here are the wrapper and `mine_topk_reference` (obvious, float64, may build Q x N); the fast form is
in mine_tiled.py, what both share in topk_window.py.

Shape suffixes: Q queries, N corpus rows, D dimensions, k results a query.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whet_kernels.topk.exact import fold_sum
from whet_kernels.topk.window import Exclude, TopK, empty_result, window_of


def mine_topk(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    k: int,
    *,
    ceiling_Q: np.ndarray | None = None,
    floor_Q: np.ndarray | None = None,
    exclude: Exclude | None = None,
    int8: bool = False,
    hint_QC: np.ndarray | None = None,
    seen: Callable[[int], object] = int,
) -> TopK:
    """The k best rows of the corpus for each query among those allowed, exact, in memory that does
    not grow with N.

    A row is allowed iff it is not excluded and floor_Q <= s <= ceiling_Q (float32), s as in
    exact_dot.py. `query_QD` and `corpus_ND` are float32 (float16 is widened exactly), of any norm;
    the corpus may be a memory map, read a tile at a time.

    `int8` (needs numba) lets the queries it suits go through int8 products first; `hint_QC`
    (int64, -1 for none) are rows that may be among the results, from an earlier search say: both
    save time and change nothing. `seen(rows)` is called as rows of the corpus are done. Raises
    ValueError for shapes that do not fit and VectorError for NaN, infinity or overflow.
    """
    from whet_kernels.topk.cpu.search import mine_topk_tiled

    window = window_of(
        query_QD, corpus_ND, k, ceiling_Q=ceiling_Q, floor_Q=floor_Q, exclude=exclude
    )
    return mine_topk_tiled(query_QD, corpus_ND, k, window, int8=int8, hint_QC=hint_QC, seen=seen)


def mine_topk_reference(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    k: int,
    *,
    ceiling_Q: np.ndarray | None = None,
    floor_Q: np.ndarray | None = None,
    exclude: Exclude | None = None,
) -> TopK:
    """`mine_topk` by looking at every score: the oracle of every backend.

    >>> corpus = np.array([[0.9], [0.5], [0.7]], np.float32)
    >>> query, ceiling_Q = np.ones((1, 1), np.float32), np.float32([0.8])
    >>> mine_topk_reference(query, corpus, 2, ceiling_Q=ceiling_Q).rows_Qk
    array([[2, 1]])
    """
    window = window_of(
        query_QD, corpus_ND, k, ceiling_Q=ceiling_Q, floor_Q=floor_Q, exclude=exclude
    )
    result = empty_result(len(query_QD), k, window)
    offsets, excluded_E = window.exclude
    for q, query_D in enumerate(query_QD):
        score_N = fold_sum(corpus_ND.astype(np.float64) * query_D.astype(np.float64)).astype(
            np.float32
        )
        open_N = np.ones(len(corpus_ND), bool)
        open_N[excluded_E[offsets[q] : offsets[q + 1]]] = False
        above_N = open_N & (score_N > window.ceiling_Q[q])
        below_N = open_N & ~above_N & (score_N < window.floor_Q[q])
        allowed = np.flatnonzero(open_N & ~above_N & ~below_N)
        best = allowed[np.lexsort((allowed, -score_N[allowed]))][:k]
        result.rows_Qk[q, : len(best)] = best
        result.scores_Qk[q, : len(best)] = score_N[best]
        result.above_Q[q], result.below_Q[q] = above_N.sum(), below_N.sum()
    return result
