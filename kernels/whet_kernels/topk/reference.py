"""The obvious form of `mine_topk`, by which every other one is judged.

Shape suffixes: Q queries, N corpus rows, D dimensions, k results per query, E exclusions.
"""

from __future__ import annotations

import numpy as np

from whet_kernels.topk.exact import fold_sum
from whet_kernels.topk.window import TopK, Window, check_search, empty_result


def mine_topk_reference(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    k: int,
    window: Window | None = None,
) -> TopK:
    """`mine_topk` by looking at every score, in float64: the oracle of every backend. It may build
    Q x N.

    >>> from whet_kernels.topk.window import window_of
    >>> corpus = np.array([[0.9], [0.5], [0.7]], np.float32)
    >>> window = window_of(1, 3, ceiling_Q=np.float32([0.8]))
    >>> mine_topk_reference(np.ones((1, 1), np.float32), corpus, 2, window).rows_Qk
    array([[2, 1]])
    """
    window = check_search(query_QD, corpus_ND, k, window)
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
