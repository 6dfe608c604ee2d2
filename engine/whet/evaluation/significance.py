"""Is the difference between two systems more than chance? Paired over queries; seeded, so
deterministic.

Shape suffixes: Q queries, B draws of one block. Every function takes `difference_Q`, tuned minus
base, one per query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

BLOCK_CELLS = 4_000_000  # draws x queries held at once: 32 MB of float64
TIE = 1e-9  # per-query scores closer than this are a tie: below any real change, above rounding


def randomisation_test(difference_Q: np.ndarray, *, draws: int = 10_000, seed: int = 0) -> float:
    """Fisher's paired randomisation test, two-sided p-value of the mean difference.

    If both systems were alike, each query's difference could as well have the other sign. p is the
    share of sign patterns whose |sum| is at least the observed one: over all 2^n patterns when
    there are no more than `draws` (n: queries that differ), else over `draws` random ones with the
    observed pattern counted in, p = (1 + hits) / (1 + draws), so that p is never 0. Sources:
    Smucker, Allan and Carterette, CIKM 2007 (the test for retrieval); Phipson and Smyth, 2010 (the
    1 +).

    >>> randomisation_test(np.array([1.0, 1.0, 1.0]))  # 2 of 8 sign patterns are as extreme
    0.25
    """
    changed_Q = difference_Q[np.abs(difference_Q) > TIE].astype(np.float64)
    if len(changed_Q) == 0:
        return 1.0
    # Sums that are equal on paper may differ in the last bit: count them as equal.
    bar = abs(changed_Q.sum()) - 1e-12 * np.abs(changed_Q).sum()
    exact = len(changed_Q) < 63 and 2 ** len(changed_Q) <= draws
    blocks = _all_signs(len(changed_Q)) if exact else _random_signs(len(changed_Q), draws, seed)
    hits = sum(int((np.abs(signs_BQ @ changed_Q) >= bar).sum()) for signs_BQ in blocks)
    return float(hits / 2 ** len(changed_Q)) if exact else (1 + hits) / (1 + draws)


def _all_signs(count: int) -> Iterator[np.ndarray]:
    """All 2^count rows of +1 and -1, in one block."""
    pattern_B1 = np.arange(2**count)[:, None]
    yield 1.0 - 2.0 * (pattern_B1 >> np.arange(count) & 1)


def _random_signs(count: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """`draws` rows of +1 and -1, in blocks."""
    random = np.random.default_rng(seed)
    for rows in _blocks(draws, count):
        yield 1.0 - 2.0 * random.integers(0, 2, size=(rows, count), dtype=np.int8)


def _blocks(draws: int, count: int) -> Iterator[int]:
    """Sizes that add up to `draws`, each of at most BLOCK_CELLS / count rows."""
    size = max(1, BLOCK_CELLS // max(1, count))
    for start in range(0, draws, size):
        yield min(size, draws - start)


def paired_t_test(difference_Q: np.ndarray) -> float:
    """Student's paired t-test, two-sided: t = mean / (sd / sqrt(n)), n - 1 degrees of freedom.

    Source: Student, 1908; `scipy.stats.ttest_rel` gives the same. 1.0 where it can say nothing:
    fewer than two queries, or no difference at all.

    >>> round(paired_t_test(np.array([0.1, 0.2, 0.3])), 4)
    0.0742
    """
    from scipy.special import (
        stdtr,
    )  # the t distribution alone: scipy.stats takes two seconds to import

    count = len(difference_Q)
    if count < 2 or not np.any(np.abs(difference_Q) > TIE):
        return 1.0
    error = difference_Q.std(ddof=1) / np.sqrt(count)
    if error == 0:
        return 0.0
    return float(2 * stdtr(count - 1, -abs(difference_Q.mean() / error)))


def bootstrap_interval(
    difference_Q: np.ndarray, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap confidence interval (low, high) of the mean difference.

    Queries are drawn with replacement, n at a time; the interval spans the middle `level` of the
    draws' means. Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    >>> bootstrap_interval(np.array([0.5, 0.5, 0.5]))
    (0.5, 0.5)
    """
    random = np.random.default_rng(seed)
    count = len(difference_Q)
    means = [
        difference_Q[random.integers(0, count, size=(rows, count))].mean(axis=1)
        for rows in _blocks(draws, count)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wins_ties_losses(difference_Q: np.ndarray) -> tuple[int, int, int]:
    """How many queries got better, stayed (within 1e-9) and got worse.

    >>> wins_ties_losses(np.array([0.2, 0.0, 0.1, -0.3]))
    (2, 1, 1)
    """
    wins, losses = int((difference_Q > TIE).sum()), int((difference_Q < -TIE).sum())
    return wins, len(difference_Q) - wins - losses, losses


def chance_of_gain(
    difference_Q: np.ndarray,
    family: Sequence[np.ndarray] = (),
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """One-sided p-value of a mean above 0, by random signs as in `randomisation_test`, for the best
    of a `family` of systems: their differences on one set of queries, which need not be the same.

    t = sum(d) / sqrt(sum(d^2)). p is the share of sign patterns with a t at least as large, and at
    least the share in which the largest t of the family is: who chose the best of several, on the
    same queries, had several chances (single-step maxT; Westfall and Young, Resampling-Based
    Multiple Testing, 1993, section 2.6). Systems alike in their differences count as few. 1.0 where
    no query changed.

    >>> chance_of_gain(np.array([1.0, 1.0, 1.0, 1.0]))
    0.0625
    """
    changed_Q = difference_Q[np.abs(difference_Q) > TIE].astype(np.float64)
    if len(changed_Q) == 0:
        return 1.0
    own = _share_of_signs(changed_Q[None], _t(changed_Q), draws, seed)
    changed = [d_Q.astype(np.float64) for d_Q in family if (np.abs(d_Q) > TIE).any()]
    if len(changed) < 2:
        return own
    return max(own, _share_of_signs(np.stack(changed), _t(changed_Q), draws, seed))


def _t(difference_Q: np.ndarray) -> float:
    return float(difference_Q.sum() / np.sqrt((difference_Q**2).sum()))


def _share_of_signs(difference_MQ: np.ndarray, bar: float, draws: int, seed: int) -> float:
    """How often the largest t of the rows, all under the same signs, is at least `bar`."""
    count = difference_MQ.shape[1]
    unit_MQ = difference_MQ / np.sqrt((difference_MQ**2).sum(axis=1, keepdims=True))
    exact = count < 63 and 2**count <= draws
    blocks = _all_signs(count) if exact else _random_signs(count, draws, seed)
    # Sums that are equal on paper may differ in the last bit: count them as equal.
    hits = sum(
        int(((signs_BQ @ unit_MQ.T).max(axis=1) >= bar - 1e-12).sum()) for signs_BQ in blocks
    )
    return float(hits / 2**count) if exact else (1 + hits) / (1 + draws)
