"""Search by vectors and by words at once.

The exact search by vectors comes first. A document that it does not list can be among the best only
if words lift it over the last that can: few do, and only they are scored. So words cost little
wherever vectors are searched, and nothing is approximate (after the threshold algorithm of Fagin,
Lotem and Naor, PODS 2001).

Shape suffixes: Q queries, B queries at a time, N documents of the part, K documents per query, C
those that vectors list, T those with a word of the query, M rows, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from whet.evaluation.lexical.words import Scored, Words
from whet.processes.world import summed
from whet.types import CorpusShard
from whet_kernels.topk.exact import fold_sum, slices

AT_ONCE = 64  # queries whose words are in memory together
CELLS = 1 << 24  # of queries x documents then, at most
SPARE = 32  # documents beyond K that vectors list: many may score alike but for rounding
SLACK = 2.0**-22  # of a score: more than its rounding to float32


@dataclass(frozen=True)
class HybridSearch:
    """The documents of highest inner product + weight x words, for the queries of these texts.

    Words are the BM25 of a document over the most the query could have: a convex combination of
    the two, but for a factor (Bruch, Gai, Ingber, ACM TOIS 2023). Of a corpus in parts `words` are
    those of this process's part. `backend` searches the vectors, as `whet.mining.search` has it.
    """

    texts: Sequence[str]
    words: Words
    weight: float
    backend: str = "auto"

    def __call__(
        self, query_QD: np.ndarray, corpus: np.ndarray | CorpusShard, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 [Q, K] and rows int64 [Q, K], K = min(k, N), best first, ties by row.

        Documents are ranked by float64 sums that depend on nothing but the two vectors and the
        words: neither on the number of parts nor on other queries. With a CorpusShard every process
        must call it alike, and all get the same.
        """
        from whet.mining.search import search  # loads torch
        from whet.mining.search.sharded import best_of_parts

        k, listed = min(k, len(corpus)), min(k + SPARE, len(corpus))
        near_QC = search(query_QD, corpus, listed, backend=self.backend)
        in_parts = isinstance(corpus, CorpusShard)
        part = _part_of(corpus)
        shape = (len(query_QD), k)
        scores_QK, rows_QK = np.full(shape, -np.inf), np.full(shape, -1)
        found = self.words.found(self.texts, shares=True)
        for span in slices(len(query_QD), max(1, min(AT_ONCE, CELLS // max(1, len(corpus))))):
            added_B = [self._added(one) for one in islice(found, span.stop - span.start)]
            sum_BC = _listed_sums(query_QD[span], part, near_QC[1][span], added_B)
            all_BC = summed(sum_BC) if in_parts else sum_BC
            for row, added in enumerate(added_B):
                place = span.start + row
                bound = float(near_QC[0][place, -1]) if listed < len(corpus) else -np.inf
                query = _Query(query_QD[place], near_QC[1][place], all_BC[row], bound)
                best = query.best_in(part, added, k)
                scores_QK[place, : len(best[0])], rows_QK[place, : len(best[0])] = best
        if in_parts:
            scores_QK, rows_QK = best_of_parts(scores_QK, rows_QK, k)
        return scores_QK.astype(np.float32), rows_QK

    def _added(self, shared: Scored) -> Scored:
        added_T = np.float32(self.weight) * shared.scores_T
        return Scored(shared.rows_T, added_T.astype(np.float64))


class _Part(NamedTuple):
    """Vectors of documents, and the row of the first."""

    vectors_ND: np.ndarray
    start: int

    def held(self, rows: np.ndarray) -> np.ndarray:
        """Which rows of the corpus are in it."""
        return (rows >= self.start) & (rows < self.start + len(self.vectors_ND))

    def dots(self, query_D: np.ndarray, rows_M: np.ndarray) -> np.ndarray:
        """Inner products with rows of the part, from 0, float64 [M]."""
        terms_MD = self.vectors_ND[rows_M].astype(np.float64)
        terms_MD *= query_D
        return fold_sum(terms_MD)


def _part_of(corpus: np.ndarray | CorpusShard) -> _Part:
    if isinstance(corpus, CorpusShard):
        return _Part(corpus.vectors, corpus.start)
    return _Part(corpus, 0)


def _listed_sums(
    query_BD: np.ndarray, part: _Part, rows_BC: np.ndarray, added_B: list[Scored]
) -> np.ndarray:
    """What vectors and words give the listed documents, float64 [B, C]; 0 outside of the part."""
    sum_BC = np.zeros(rows_BC.shape)
    held_BC = part.held(rows_BC)
    for row, held_C in enumerate(held_BC):
        rows_M = rows_BC[row, held_C] - part.start
        sum_BC[row, held_C] = part.dots(query_BD[row], rows_M) + _at(rows_M, added_B[row])
    return sum_BC


def _at(rows_M: np.ndarray, added: Scored) -> np.ndarray:
    """What words add to the rows: 0 where there is none in common."""
    if not len(added.rows_T):
        return np.zeros(len(rows_M))
    place_M = np.minimum(np.searchsorted(added.rows_T, rows_M), len(added.rows_T) - 1)
    return np.where(added.rows_T[place_M] == rows_M, added.scores_T[place_M], 0.0)


class _Query(NamedTuple):
    """A query, the documents that vectors list for it, of all parts, with their sums, and a bound
    of the inner products of all others.
    """

    vector_D: np.ndarray
    rows_C: np.ndarray
    sum_C: np.ndarray
    bound: float

    def best_in(self, part: _Part, added: Scored, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float64 and rows of the best documents in the part, k at most, ties by row."""
        held_C = part.held(self.rows_C)
        listed_M = self.rows_C[held_C] - part.start
        lifted_M, lifted_sum_M = self._lifted(part, added, listed_M, k)
        rows = np.concatenate([listed_M, lifted_M]) + part.start
        sums = np.concatenate([self.sum_C[held_C], lifted_sum_M])
        order = np.lexsort((rows, -sums))[:k]
        return sums[order], rows[order]

    def _lifted(
        self, part: _Part, added: Scored, listed_M: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The other documents of the part that words may lift among the k best, and their sums."""
        sums, rows = self.sum_C, np.empty(0, np.int64)
        open_T = added.scores_T >= self._needed(sums, k)
        open_T[open_T] = np.isin(added.rows_T[open_T], listed_M, invert=True)
        order = np.flatnonzero(open_T)
        order = order[np.argsort(-added.scores_T[order], kind="stable")]
        while len(order) and added.scores_T[order[0]] >= self._needed(sums, k):
            some, order = order[: len(rows) + k], order[len(rows) + k :]
            some_M = added.rows_T[some]
            rows = np.concatenate([rows, some_M])
            sums = np.concatenate([sums, part.dots(self.vector_D, some_M) + added.scores_T[some]])
        return rows, sums[len(self.sum_C) :]

    def _needed(self, sums: np.ndarray, k: int) -> float:
        """What words must add to a document that vectors do not list."""
        if self.bound == -np.inf:  # they list all
            return np.inf
        least = float(np.partition(sums, len(sums) - k)[len(sums) - k])
        return least - self.bound - SLACK * (abs(least) + abs(self.bound))
