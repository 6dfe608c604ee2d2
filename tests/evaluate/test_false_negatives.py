"""The sample of negatives, its rate and interval, the margin: against made-up truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.evaluation.false_negatives import Population, audit_of, exact_interval, margin_for
from whet.types import Negatives


def population(gap_X):
    rows = np.arange(len(gap_X))
    return Population(rows, rows, gap_X)


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 2**31))
def test_what_is_asked_is_spread_evenly(size, count, seed):
    drawn = population(np.arange(size) / size).drawn(count, seed)
    assert len(np.unique(drawn)) == len(drawn) == min(size, count)
    assert drawn.min() >= 0 and drawn.max() < size
    if count < size:
        assert np.diff(drawn, prepend=drawn[-1] - size).max() <= -(-size // count)


@pytest.mark.parametrize("top", [0.01, 0.2, 0.6, 0.95])
def test_the_rate_has_no_bias_and_its_interval_covers(top):
    """Of a rate that falls along the gap, with 50 answers each: 400 audits of as many mines."""
    rng = np.random.default_rng(1)
    off, covered = [], 0
    for seed in range(400):
        gap_X = np.sort(rng.random(1000))
        relevant_X = rng.random(1000) < top * (1 - gap_X) ** 2
        drawn = population(gap_X).drawn(50, seed)
        rate = audit_of(gap_X[drawn], relevant_X[drawn], tolerated=0.1).rate
        off.append(rate.value - relevant_X.mean())
        covered += rate.low <= relevant_X.mean() <= rate.high
    assert abs(np.mean(off)) < 0.01
    assert covered >= 360


def test_the_interval_by_hand():
    """None of ten: what leaves a chance of 5 % for that, 1 - 0.05^(1/10)."""
    low, high = exact_interval(0, 10)
    assert low == 0 and high == pytest.approx(1 - 0.05**0.1, abs=1e-9)
    assert exact_interval(10, 10) == pytest.approx((0.05**0.1, 1), abs=1e-9)
    assert exact_interval(0, 0) == (0, 1)


def test_the_margin_leaves_what_is_tolerated():
    rng = np.random.default_rng(2)
    gap_X = np.sort(rng.random(2000))
    relevant_X = rng.random(2000) < np.where(gap_X < 0.3, 0.8, 0.02)
    margin = margin_for(gap_X, relevant_X, 0.1)
    assert margin == pytest.approx(0.3, abs=0.02)
    assert margin_for(gap_X, np.zeros(2000, bool), 0.1) == 0
    assert margin_for(gap_X, np.ones(2000, bool), 0.1) is None


def test_the_population_is_every_negative_once_by_its_gap():
    negatives = Negatives(
        np.array([3, 3, 5]),
        np.array([[1, 2], [2, -1], [4, 1]]),
        np.array([[0.7, 0.4], [0.4, np.nan], [0.9, 0.2]], np.float32),
        np.zeros((3, 2), int),
        np.array([0.8, 0.8, np.nan], np.float32),
    )
    found = Population.of(negatives)
    assert found.query_rows_X.tolist() == [3, 3] and found.doc_rows_X.tolist() == [1, 2]
    assert found.gap_X == pytest.approx([0.125, 0.5], abs=1e-6)
