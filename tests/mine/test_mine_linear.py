"""The linear map from old vectors to new ones, against a plain solver in float64."""

from __future__ import annotations

import numpy as np
import pytest

from whet.mining.linear import fit_linear


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def moved():
    """123 vectors of 31 dimensions, and where a map with noise has moved them."""
    rng = np.random.default_rng(1)
    old = rng.standard_normal((123, 31))
    return old, old @ rng.standard_normal((31, 31)) + 2.0 + 0.1 * rng.standard_normal((123, 31))


def test_without_ridge_it_is_least_squares_with_a_constant(moved):
    old, new = moved
    wanted, *_ = np.linalg.lstsq(np.hstack([old, np.ones((123, 1))]), new, rcond=None)
    found = fit_linear(old, new, 0.0)
    assert found.weight_DD == pytest.approx(wanted[:-1], abs=1e-10)
    assert found.bias_D == pytest.approx(wanted[-1], abs=1e-10)


def test_ridge_draws_it_towards_staying_in_place(moved):
    """The same minimum by least squares over rows added for the penalty."""
    old, new = moved
    centred, target = old - old.mean(0), new - new.mean(0)
    weight = np.sqrt(0.3 * (centred**2).sum() / 31)
    rows = np.vstack([centred, weight * np.eye(31)])
    wanted, *_ = np.linalg.lstsq(rows, np.vstack([target, weight * np.eye(31)]), rcond=None)
    found = fit_linear(old, new, 0.3)
    assert found.weight_DD == pytest.approx(wanted, abs=1e-10)
    assert old.mean(0) @ found.weight_DD + found.bias_D == pytest.approx(new.mean(0), abs=1e-10)


@pytest.mark.parametrize("sampled", [1, 5, 123])
@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_vectors_that_did_not_move_stay(moved, sampled, ridge):
    old = unit(moved[0]).astype(np.float32)
    found = fit_linear(old[:sampled], old[:sampled], ridge)
    assert found(old) == pytest.approx(old, abs=1e-6)


def test_a_rotation_is_found_and_length_kept(moved):
    old = unit(moved[0]).astype(np.float32)
    turn = np.linalg.qr(moved[1][:31])[0]
    new = (old @ turn).astype(np.float32)
    out = np.empty_like(old)
    assert fit_linear(old[:60], new[:60], 0.0)(old, out) is out
    assert out == pytest.approx(new, abs=1e-5)
    assert np.linalg.norm(out, axis=1) == pytest.approx(1, abs=1e-6)
    longer = fit_linear(old[:60], 3 * new[:60], 0.0)
    assert not longer.unit_length and longer(old) == pytest.approx(3 * new, abs=1e-4)
