"""What the model learns from where nobody judged: its own cosines and the words in common, added.

Shape suffixes: Q queries, N documents, K best documents per query, B queries of a step, C documents
of a step, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whet.evaluation.lexical import Words
from whet.evaluation.lexical.hybrid import HybridSearch, at_rows

BEST = 30  # documents of each query that a step compares
RANDOM_ROWS = 256  # documents of the corpus beside them, in each step
CELLS = 1 << 26  # shares of words that are kept: 256 MB; beyond, they are counted again per step


class HybridTeacher:
    """Scores of documents for queries: inner product + weight x share of words.

    It contains the model it teaches, so where words say nothing it asks for no change.
    """

    def __init__(
        self,
        texts: Sequence[str],
        query_QD: np.ndarray,
        corpus_ND: np.ndarray,
        words: Words,
        weight: float,
    ) -> None:
        """Find the best documents of each query, exactly."""
        self.query_QD, self.corpus_ND = query_QD, corpus_ND
        self._texts, self._words, self._weight = texts, words, weight
        self.best_QK = HybridSearch(texts, words, weight)(query_QD, corpus_ND, BEST)[1]
        small = len(texts) * len(corpus_ND) <= CELLS
        self._share_QN = words.shares(texts) if small and weight else None

    def documents(self, query_B: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Rows of the documents of a step, int64 [C], ascending: the best of its queries, and some
        of the corpus at random.
        """
        drawn = random.integers(len(self.corpus_ND), size=RANDOM_ROWS)
        return np.unique(np.concatenate([self.best_QK[query_B].ravel(), drawn]))

    def scores(self, query_B: np.ndarray, rows_C: np.ndarray) -> np.ndarray:
        """What it gives each of these documents for each of these queries, float32 [B, C]."""
        cosine_BC: np.ndarray = self.query_QD[query_B] @ self.corpus_ND[rows_C].T
        if not self._weight:
            return cosine_BC
        if self._share_QN is not None:
            share_BC = self._share_QN[np.ix_(query_B, rows_C)]
        else:  # not of all documents: a corpus may be large
            asked = [self._texts[int(query)] for query in query_B]
            found = self._words.found(asked, shares=True)
            share_BC = np.stack([at_rows(rows_C, shares) for shares in found]).astype(np.float32)
        score_BC: np.ndarray = cosine_BC + np.float32(self._weight) * share_BC
        return score_BC
