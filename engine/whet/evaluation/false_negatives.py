"""How many mined negatives are relevant: a sample that people answer, and what it says.

The gap of a negative is how far it scores below its query's positive, as a share of that: a margin
of m keeps gaps of at least m. Negatives are asked about at equal distances in the order of how
alike they are to the nearest of their query's known positives, from a random start. So each has the
same chance to be asked, and the share of relevant ones among the answers is an unbiased estimate of
their rate. It errs less than that of a random sample, since likely and unlikely ones are asked
about in their proportion (systematic sampling: Cochran, Sampling Techniques, 1977, chapter 8).

Shape suffixes: X negatives of the population, by ascending gap, A answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whet.types import Negatives

LEVEL = 0.9  # of the intervals
BINS = 5  # of the table


@dataclass(frozen=True)
class Population:
    """Negatives of queries, rows of the tables, by ascending gap; `likeness_X` is what they are
    drawn along (None: the gap).
    """

    query_rows_X: np.ndarray
    doc_rows_X: np.ndarray
    gap_X: np.ndarray
    likeness_X: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.gap_X)

    @classmethod
    def of(cls, negatives: Negatives) -> Population:
        """All negatives of queries that have a positive, each (query, document) once."""
        found_RK = (negatives.doc_rows_RK >= 0) & np.isfinite(negatives.positive_scores_R)[:, None]
        row_X, place_X = np.nonzero(found_RK)
        query_X, doc_X = negatives.query_rows_R[row_X], negatives.doc_rows_RK[row_X, place_X]
        gap_X = relative_gaps(
            negatives.positive_scores_R[row_X], negatives.scores_RK[row_X, place_X]
        )
        order = np.lexsort((doc_X, query_X, gap_X))
        query_X, doc_X, gap_X = query_X[order], doc_X[order], gap_X[order]
        first = np.unique(np.stack([query_X, doc_X]), axis=1, return_index=True)[1]
        keep = np.sort(first)
        return cls(query_X[keep], doc_X[keep], gap_X[keep])

    def drawn(self, count: int, seed: int) -> np.ndarray:
        """Which to ask about: `count` positions (or all), ascending, the same for a seed."""
        if count >= len(self):
            return np.arange(len(self))
        start = np.random.default_rng(seed).random()
        places = np.floor((start + np.arange(count)) * len(self) / count).astype(np.int64)
        along_X = -self.gap_X if self.likeness_X is None else self.likeness_X
        return np.sort(np.argsort(along_X, kind="stable")[places])


@dataclass(frozen=True)
class Rate:
    """A share of relevant ones among `asked`, with the ends of its interval."""

    asked: int
    relevant: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The estimate, NaN where nothing was asked."""
        return self.relevant / self.asked if self.asked else math.nan


@dataclass(frozen=True)
class Audit:
    """What the answers say: the rate among all, by gap, and the margin from which on at most
    `tolerated` of the negatives are relevant (None: no gap that was asked about is wide enough).
    """

    rate: Rate
    by_gap: list[tuple[float, float, Rate]]
    margin: float | None
    tolerated: float


def relative_gaps(positive_X: np.ndarray, negative_X: np.ndarray) -> np.ndarray:
    """How far negatives score below their positives, as a share of those.

    >>> relative_gaps(np.array([0.8]), np.array([0.6])).round(3)
    array([0.25])
    """
    scale_X = np.maximum(np.abs(positive_X), np.finfo(np.float32).tiny)
    gap_X: np.ndarray = (positive_X.astype(np.float64) - negative_X) / scale_X
    return gap_X


def exact_interval(relevant: int, asked: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a share that holds it with at least this chance, however small the share is
    (Clopper and Pearson, Biometrika 1934).

    >>> [round(end, 3) for end in exact_interval(5, 50)]
    [0.04, 0.199]
    """
    tail = (1 - level) / 2
    low = _share_where(lambda share: _at_least(relevant, asked, share), tail) if relevant else 0.0
    missing = asked - relevant
    high = (
        1 - _share_where(lambda share: _at_least(missing, asked, share), tail) if missing else 1.0
    )
    return low, high


def _share_where(chance: Callable[[float], float], wanted: float) -> float:
    """The share at which a chance that grows with it is as wanted, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) < wanted else (low, middle)
    return (low + high) / 2


def _at_least(count: int, asked: int, share: float) -> float:
    """The chance that so many or more of `asked` are relevant, of whom each is with `share`."""
    if share in (0.0, 1.0):
        return share
    logs = [
        math.lgamma(asked + 1) - math.lgamma(k + 1) - math.lgamma(asked - k + 1)
        + k * math.log(share) + (asked - k) * math.log1p(-share)
        for k in range(count, asked + 1)
    ]  # fmt: skip
    return math.fsum(map(math.exp, logs))


def audit_of(gap_A: np.ndarray, relevant_A: np.ndarray, *, tolerated: float) -> Audit:
    """The audit of answers: the gaps that were asked about, and whether each was relevant.

    The interval is that of a random sample of as many. The sample drawn here is spread over likely
    and unlikely ones, so its error is smaller, and the interval errs on the wide side.
    """
    order = np.argsort(gap_A, kind="stable")
    gap_A, relevant_A = np.asarray(gap_A)[order], np.asarray(relevant_A, bool)[order]
    bins = []
    for part in np.array_split(np.arange(len(gap_A)), min(BINS, len(gap_A))):
        bins.append((float(gap_A[part[0]]), float(gap_A[part[-1]]), _rate(relevant_A[part])))
    margin = margin_for(gap_A, relevant_A, tolerated)
    return Audit(_rate(relevant_A), bins, margin, tolerated)


def margin_for(gap_A: np.ndarray, relevant_A: np.ndarray, tolerated: float) -> float | None:
    """The smallest of the ascending gaps from which on a negative is relevant with a chance of at
    most `tolerated`; 0 where this holds for all, None for none.

    The chance falls as the gap grows: it is fitted so, by pooling neighbours that do not (isotonic
    regression, Ayer et al., 1955).

    >>> gaps, relevant = np.arange(6) / 10, np.array([1, 1, 0, 1, 0, 0])
    >>> float(margin_for(gaps, relevant, 0.1))
    0.4
    """
    chance_A = _falling(np.asarray(relevant_A, float))
    fine = np.flatnonzero(chance_A <= tolerated)
    if not len(fine):
        return None
    return 0.0 if fine[0] == 0 else max(0.0, float(gap_A[fine[0]]))


def _falling(value_A: np.ndarray) -> np.ndarray:
    """The falling sequence nearest to the values (pool adjacent violators)."""
    blocks: list[list[float]] = []  # mean, length
    for value in value_A:
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            mean, length = blocks.pop()
            before = blocks[-1]
            before[0] = (before[0] * before[1] + mean * length) / (before[1] + length)
            before[1] += length
    return np.repeat([mean for mean, _ in blocks], [int(length) for _, length in blocks])


def _rate(relevant_A: np.ndarray) -> Rate:
    asked, relevant = len(relevant_A), int(relevant_A.sum())
    return Rate(asked, relevant, *exact_interval(relevant, asked))
