"""Significance: exact enumeration, scipy, and cases whose answer is plain."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from whet.evaluation.significance import (
    bootstrap_interval,
    paired_t_test,
    randomisation_test,
    wins_ties_losses,
)

DIFFERENCES = st.lists(
    st.sampled_from([-0.5, -0.2, -0.1, 0.0, 0.1, 0.3, 0.5]), min_size=1, max_size=8
)


def enumerated(difference_Q: np.ndarray) -> float:
    """The definition: every sign pattern of every query, zeros too."""
    observed = abs(difference_Q.sum()) - 1e-9
    patterns = list(itertools.product([1, -1], repeat=len(difference_Q)))
    return sum(abs(np.dot(pattern, difference_Q)) >= observed for pattern in patterns) / len(
        patterns
    )


@pytest.mark.parametrize(
    ("difference", "p_value"),
    [
        ([0.0, 0.0, 0.0], 1.0),  # identical systems
        ([0.3], 1.0),  # one query says nothing
        ([1.0, 1.0], 0.5),
        ([1.0, 1.0, 1.0, 1.0], 2 / 16),
        ([1.0, 1.0, 1.0, -1.0], 10 / 16),  # |sum| >= 2: all but the 6 balanced patterns
        ([0.1, 0.2, -0.3], 1.0),  # sum 0
        ([0.1] * 10, 2 / 1024),
    ],
)
def test_randomisation_by_hand(difference: list[float], p_value: float) -> None:
    assert randomisation_test(np.array(difference)) == pytest.approx(p_value, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(difference=DIFFERENCES)
def test_small_sets_are_enumerated(difference: list[float]) -> None:
    difference_Q = np.array(difference)
    assert randomisation_test(difference_Q) == pytest.approx(enumerated(difference_Q), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(difference=st.lists(st.sampled_from([-0.4, -0.1, 0.1, 0.2, 0.5]), min_size=8, max_size=10))
def test_draws_come_near_the_enumeration(difference: list[float]) -> None:
    """200 draws of at least 2^8 patterns; 0.17 is over 4.5 standard deviations of a share of
    200.
    """
    difference_Q = np.array(difference)
    drawn = randomisation_test(difference_Q, draws=200)
    assert drawn == pytest.approx(enumerated(difference_Q), abs=0.17)


def test_many_draws_come_very_near() -> None:
    random = np.random.default_rng(5)
    difference_Q = random.normal(0.03, 0.1, size=14)  # 16,384 patterns, over 10,000
    exact = randomisation_test(difference_Q, draws=2**14)
    assert randomisation_test(difference_Q) == pytest.approx(exact, abs=0.02)
    assert 0.05 < exact < 0.95


def test_a_clear_difference_is_clear_and_never_zero() -> None:
    difference_Q = np.random.default_rng(0).normal(0.1, 0.1, size=300)
    assert randomisation_test(difference_Q) == 1 / 10_001
    assert paired_t_test(difference_Q) < 1e-20
    low, high = bootstrap_interval(difference_Q)
    assert 0.08 < low < difference_Q.mean() < high < 0.12


def test_noise_is_not_significant_more_often_than_it_should_be() -> None:
    """Under no difference p is uniform: of 200 trials 10 are below 0.05, and 24 is 4.5 deviations
    off.
    """
    random = np.random.default_rng(1)
    trials = [randomisation_test(random.normal(size=20), draws=400, seed=i) for i in range(200)]
    assert 1 <= sum(p_value < 0.05 for p_value in trials) < 24


def test_deterministic_by_seed_and_by_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    difference_Q = np.random.default_rng(2).normal(0.02, 0.2, size=47)
    first = randomisation_test(difference_Q, seed=1), bootstrap_interval(difference_Q, seed=1)
    assert first == (
        randomisation_test(difference_Q, seed=1),
        bootstrap_interval(difference_Q, seed=1),
    )
    assert first[1] != bootstrap_interval(difference_Q, seed=2)
    monkeypatch.setattr("whet.evaluation.significance.BLOCK_CELLS", 47 * 123)
    assert bootstrap_interval(difference_Q, seed=1) == pytest.approx(first[1], abs=0.01)
    assert randomisation_test(difference_Q, seed=1) == pytest.approx(first[0], abs=0.02)


@settings(max_examples=60, deadline=None)
@given(difference=st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=30))
def test_t_test_is_scipys(difference: list[float]) -> None:
    difference_Q = np.array(difference)
    if np.ptp(difference_Q) > 1e-6:
        expected = stats.ttest_1samp(difference_Q, 0.0).pvalue
        assert paired_t_test(difference_Q) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("difference", "p_value"), [([0.0] * 5, 1.0), ([0.5], 1.0), ([0.5] * 4, 0.0)]
)
def test_t_test_where_scipy_has_no_answer(difference: list[float], p_value: float) -> None:
    assert paired_t_test(np.array(difference)) == p_value


def test_bootstrap_of_a_constant_is_that_constant() -> None:
    assert bootstrap_interval(np.full(7, 0.25)) == (0.25, 0.25)


def test_bootstrap_agrees_with_the_normal_interval() -> None:
    difference_Q = np.random.default_rng(3).normal(0.05, 0.2, size=400)
    half = 1.96 * difference_Q.std(ddof=1) / 20
    low, high = bootstrap_interval(difference_Q)
    assert low == pytest.approx(difference_Q.mean() - half, abs=0.002)
    assert high == pytest.approx(difference_Q.mean() + half, abs=0.002)


def test_wins_ties_losses() -> None:
    difference_Q = np.array([0.5, 1e-12, 0.0, -0.1, -0.2, 1e-6])
    assert wins_ties_losses(difference_Q) == (2, 2, 2)
