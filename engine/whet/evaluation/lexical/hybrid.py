"""Search by vectors and by words at once.

Shape suffixes: Q queries, B queries at a time, N documents, K documents per query, C candidates, D
dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whet.evaluation.lexical import Words

AT_ONCE = 64  # queries whose scores of all documents are in memory together
CELLS = 1 << 26  # such scores at most
SPARE = 32  # candidates beyond K, which exact scores may bring up


@dataclass(frozen=True)
class HybridSearch:
    """The documents of highest inner product + weight x words, for the queries of these texts.

    Words are the BM25 of a document over the most the query could have: a convex combination of
    the two, but for a factor (Bruch, Gai, Ingber, ACM TOIS 2023).
    """

    texts: Sequence[str]
    words: Words
    weight: float

    def __call__(
        self, query_QD: np.ndarray, corpus_ND: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 [Q, K] and rows int64 [Q, K], K = min(k, N), best first, ties by row.

        Candidates are found in float32 and scored in float64.
        """
        k, count = min(k, len(corpus_ND)), len(self.texts)
        scores_QK, rows_QK = np.empty((count, k), np.float32), np.empty((count, k), np.int64)
        step = max(1, min(AT_ONCE, CELLS // max(1, len(corpus_ND))))
        for start in range(0, count, step):
            span = slice(start, start + step)
            added_BN = np.float32(self.weight) * self.words.shares(self.texts[span])
            near_BC = highest(query_QD[span] @ corpus_ND.T + added_BN, k + SPARE)
            vector_BCD = corpus_ND[near_BC].astype(np.float64)
            exact_BC = np.einsum("bd,bcd->bc", query_QD[span].astype(np.float64), vector_BCD)
            exact_BC += np.take_along_axis(added_BN, near_BC, axis=1)
            order_BK = np.lexsort((near_BC, -exact_BC), axis=1)[:, :k]
            scores_QK[span] = np.take_along_axis(exact_BC, order_BK, axis=1)
            rows_QK[span] = np.take_along_axis(near_BC, order_BK, axis=1)
        return scores_QK, rows_QK


def highest(score_BN: np.ndarray, count: int) -> np.ndarray:
    """Columns of the `count` highest scores of each row, in no order.

    >>> highest(np.array([[0.1, 0.9, 0.5]]), 1)
    array([[1]])
    """
    width = score_BN.shape[1]
    if count >= width:
        return np.broadcast_to(np.arange(width), score_BN.shape)
    return np.argpartition(score_BN, width - count, axis=1)[:, width - count :]
