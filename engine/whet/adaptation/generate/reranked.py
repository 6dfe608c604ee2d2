"""A cross-encoder as judge: it orders what the queries of a language model find.

Shape suffixes: Q queries, G generated queries, K best documents per query, B queries of a step, C
documents of a step, D dimensions, N documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from whet.adaptation.hybrid_teacher import HybridTeacher
from whet.evaluation.lexical import Words

Judge = Callable[[list[str], np.ndarray], np.ndarray]  # texts of M queries, rows [M] -> scores [M]
AT_ONCE = 64  # queries whose lists are judged between two lines of progress


class RerankedTeacher(HybridTeacher):
    """The hybrid teacher, but for the lists of some queries, which a judge scores.

    Their scores are brought to the mean and spread of the hybrid's own in the same list (as
    Montague and Aslam normalise scores, CIKM 2001): so lists of both kinds are learned at one
    temperature, and what is not in a list stays below its mean.
    """

    def __init__(
        self,
        texts: Sequence[str],
        query_QD: np.ndarray,
        corpus_ND: np.ndarray,
        words: Words,
        weight: float,
        *,
        places: Sequence[int],
        judge: Judge,
        judged: Callable[[int], None],
    ) -> None:
        """Judge the lists of the queries at `places`; `judged` is told how many more are done."""
        super().__init__(texts, query_QD, corpus_ND, words, weight)
        self._list_of: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for start in range(0, len(places), AT_ONCE):
            part = np.array(places[start : start + AT_ONCE])
            rows_GK = np.sort(self.best_QK[part], axis=1)
            asked = [texts[int(place)] for place in part for _ in range(rows_GK.shape[1])]
            judged_GK = judge(asked, rows_GK.ravel()).reshape(rows_GK.shape)
            for place, rows_K, judged_K in zip(part.tolist(), rows_GK, judged_GK, strict=True):
                own_K = super().scores(np.array([place]), rows_K)[0]
                self._list_of[place] = rows_K, alike(judged_K, own_K)
            judged(len(part))

    def scores(self, query_B: np.ndarray, rows_C: np.ndarray) -> np.ndarray:
        """As the hybrid's, float32 [B, C]; of a judged list the judge's. The rows are those that
        `documents` gives for these queries: all their lists are among them.
        """
        score_BC = super().scores(query_B, rows_C)
        for score_C, place in zip(score_BC, query_B.tolist(), strict=True):
            if place in self._list_of:
                rows_K, scores_K = self._list_of[place]
                score_C[np.searchsorted(rows_C, rows_K)] = scores_K
        return score_BC


def alike(judged_K: np.ndarray, own_K: np.ndarray) -> np.ndarray:
    """Scores of a list with the order and relative distances of `judged_K`, and the mean and
    standard deviation of `own_K`, float32 [K]; `own_K` where the judge finds all alike.

    >>> alike(np.array([-2.0, 6.0]), np.array([0.6, 0.4])).round(3).tolist()
    [0.4000000059604645, 0.6000000238418579]
    """
    spread = judged_K.std(dtype=np.float64)
    if not spread > 0:
        return np.asarray(own_K, np.float32)
    z_K = (judged_K - judged_K.mean(dtype=np.float64)) / spread
    scaled_K = own_K.mean(dtype=np.float64) + own_K.std(dtype=np.float64) * z_K
    return np.asarray(scaled_K, np.float32)
