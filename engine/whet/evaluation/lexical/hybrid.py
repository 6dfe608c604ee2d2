"""Search by vectors and by words at once.

All documents get the product of their vector and the query's in float32, and those with a word of
the query what words add. Every document that may be among the best, by the bound of a product's
rounding, is then scored exactly. So the result is that of exact sums, and does not depend on what
is searched together or on how the corpus is divided.

Shape suffixes: Q queries, B queries at a time, N documents of the part, K documents per query, T
those with a word of the query, M rows, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from whet.evaluation.lexical.words import Scored, Words
from whet.types import CorpusShard
from whet_kernels.topk.exact import CHUNK_NUMBERS, fold_sum, norms, score_error_Q, slices

AT_ONCE = 64  # queries whose scores of all documents are in memory together
CELLS = 1 << 26  # such scores at most


@dataclass(frozen=True)
class HybridSearch:
    """The documents of highest inner product + weight x words, for the queries of these texts.

    Words are the BM25 of a document over the most the query could have: a convex combination of
    the two, but for a factor (Bruch, Gai, Ingber, ACM TOIS 2023). Of a corpus in parts `words` are
    those of this process's part.
    """

    texts: Sequence[str]
    words: Words
    weight: float

    def __call__(
        self, query_QD: np.ndarray, corpus: np.ndarray | CorpusShard, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 [Q, K] and rows int64 [Q, K], K = min(k, N), best first, ties by row.

        Documents are ranked by float64 sums. With a CorpusShard every process must call it alike,
        and all get the result of the whole corpus.
        """
        from whet.mining.search.sharded import best_of_parts  # loads torch

        k, part = min(k, len(corpus)), _part_of(corpus)
        error_Q = part.errors(query_QD, self.weight)
        scores_QK, rows_QK = np.full((len(query_QD), k), -np.inf), np.full((len(query_QD), k), -1)
        found = self.words.found(self.texts, shares=True)
        for span in slices(len(query_QD), max(1, min(AT_ONCE, CELLS // max(1, len(corpus))))):
            score_BN = query_QD[span] @ part.vectors_ND.T
            for row, (rows_T, share_T) in enumerate(islice(found, span.stop - span.start)):
                place = span.start + row
                added = Scored(rows_T, np.float32(self.weight) * share_T)
                score_BN[row, rows_T] += added.scores_T
                best = part.best(query_QD[place], score_BN[row], added, k, error_Q[place])
                scores_QK[place, : len(best[0])], rows_QK[place, : len(best[0])] = best
        if isinstance(corpus, CorpusShard):
            scores_QK, rows_QK = best_of_parts(scores_QK, rows_QK, k)
        return scores_QK.astype(np.float32), rows_QK

    def among(
        self, query_QD: np.ndarray, vectors_ND: np.ndarray, rows_M: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of a corpus whose vectors lie here, among the documents of some rows, ascending:
        scores float32 [Q, K] and rows int64 [Q, K], K = min(k, M).
        """
        part, k = _Part(vectors_ND, 0), min(k, len(rows_M))
        scores_QK, rows_QK = np.empty((len(query_QD), k)), np.empty((len(query_QD), k), np.int64)
        for place, (rows_T, share_T) in enumerate(self.words.found(self.texts, shares=True)):
            added = Scored(rows_T, np.float32(self.weight) * share_T)
            sum_M = part.dots(query_QD[place], rows_M) + at_rows(rows_M, added)
            order = np.lexsort((rows_M, -sum_M))[:k]
            scores_QK[place], rows_QK[place] = sum_M[order], rows_M[order]
        return scores_QK.astype(np.float32), rows_QK


class _Part(NamedTuple):
    """Vectors of documents, and the row of the first."""

    vectors_ND: np.ndarray
    start: int

    def errors(self, query_QD: np.ndarray, weight: float) -> np.ndarray:
        """How far a float32 sum can be from the exact one, float64 [Q]."""
        largest = float(norms(self.vectors_ND, side="corpus").max(initial=0.0))
        norm_Q = norms(query_QD, side="query")
        rounding_Q: np.ndarray = 2.0**-23 * (norm_Q * largest + weight)  # of adding the words
        error_Q: np.ndarray = score_error_Q(norm_Q, largest, query_QD.shape[1]) + rounding_Q
        return error_Q

    def best(
        self, query_D: np.ndarray, score_N: np.ndarray, added: Scored, k: int, error: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Exact scores and rows of the best documents of the part, at most k, ties by row."""
        rows_M = np.arange(len(score_N))
        if len(score_N) > k:
            least = float(np.partition(score_N, len(score_N) - k)[len(score_N) - k])
            rows_M = np.flatnonzero(score_N >= np.float64(least - 2 * error))
        sum_M = self.dots(query_D, rows_M) + at_rows(rows_M, added)
        order = np.lexsort((rows_M, -sum_M))[:k]
        return sum_M[order], rows_M[order] + self.start

    def dots(self, query_D: np.ndarray, rows_M: np.ndarray) -> np.ndarray:
        """Inner products with rows of the part, from 0, float64 [M]."""
        dot_M = np.empty(len(rows_M))
        for chunk in slices(len(rows_M), max(1, CHUNK_NUMBERS // max(1, len(query_D)))):
            terms_MD = self.vectors_ND[rows_M[chunk]].astype(np.float64)
            terms_MD *= query_D
            dot_M[chunk] = fold_sum(terms_MD)
        return dot_M


def _part_of(corpus: np.ndarray | CorpusShard) -> _Part:
    if isinstance(corpus, CorpusShard):
        return _Part(corpus.vectors, corpus.start)
    return _Part(corpus, 0)


def at_rows(rows_M: np.ndarray, added: Scored) -> np.ndarray:
    """What words add to the rows, float64 [M]: 0 where there is none in common."""
    added_M = np.zeros(len(rows_M))
    if len(added.rows_T):
        place_M = np.minimum(np.searchsorted(added.rows_T, rows_M), len(added.rows_T) - 1)
        same_M = added.rows_T[place_M] == rows_M
        added_M[same_M] = added.scores_T[place_M[same_M]]
    return added_M
