"""The score of a pair: an order of summation a hand can follow, and a bound that holds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whet_kernels.topk.exact import (
    VectorError,
    check_range,
    fold_sum,
    norms,
    pair_scores,
    score_error_Q,
    tile_scores,
)

pytestmark = pytest.mark.kernel


def folded(numbers: list[float]) -> float:
    """The fixed order in plain Python."""
    while len(numbers) > 1:
        half = (len(numbers) + 1) // 2
        upper = numbers[half:]
        numbers = [a + b for a, b in zip(numbers, upper, strict=False)] + numbers[len(upper) : half]
    return numbers[0]


@pytest.mark.parametrize("dimension", [1, 2, 31, 47, 123, 384])
def test_score_is_the_folded_float64_sum(dimension):
    rng = np.random.default_rng(dimension)
    query, doc = rng.standard_normal((2, 1, dimension)).astype(np.float32)
    terms = [float(a) * float(b) for a, b in zip(query[0], doc[0], strict=True)]
    score = pair_scores(query, doc, np.array([0]), np.array([0]))[0]
    assert score == np.float32(folded(terms))
    assert score == pytest.approx(math.fsum(terms), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("dimension", [1, 2, 31, 47, 123, 384])
def test_the_compiled_loop_gives_the_same_bits(dimension):
    from whet_kernels.topk.compiled import exact_pairs

    rng = np.random.default_rng(dimension)
    query, corpus = (rng.standard_normal((n, dimension)).astype(np.float32) for n in (9, 70))
    query_M, row_M = rng.integers(0, 9, 500), rng.integers(0, 70, 500)
    score_M = np.empty(500, np.float32)
    exact_pairs(query, corpus, query_M, row_M, score_M)
    terms_MD = query[query_M].astype(np.float64) * corpus[row_M].astype(np.float64)
    assert np.array_equal(score_M, fold_sum(terms_MD).astype(np.float32))


def test_score_does_not_depend_on_the_batch():
    rng = np.random.default_rng(0)
    query, corpus = (rng.standard_normal((n, 123)).astype(np.float32) for n in (3, 5000))
    query_M, row_M = rng.integers(0, 3, 9000), rng.integers(0, 5000, 9000)
    together = pair_scores(query, corpus, query_M, row_M)
    alone = [pair_scores(query, corpus, query_M[i : i + 1], row_M[i : i + 1]) for i in range(9000)]
    assert np.array_equal(together, np.concatenate(alone))


def test_equal_rows_of_a_tile_are_scored_as_if_each_alone():
    rng = np.random.default_rng(0)
    query = rng.standard_normal((20, 31)).astype(np.float32)
    tile = rng.standard_normal((3, 31)).astype(np.float32)[rng.integers(0, 3, 50)]
    query_M, row_M = np.repeat(np.arange(20), 50), np.tile(np.arange(50), 20)
    assert np.array_equal(
        tile_scores(query, tile, query_M, row_M), pair_scores(query, tile, query_M, row_M)
    )


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e15])
@pytest.mark.parametrize("dimension", [1, 47, 1024])
def test_float32_products_stay_within_the_bound(scale, dimension):
    rng = np.random.default_rng(1)
    query, corpus = (
        (rng.standard_normal((n, dimension)) * scale).astype(np.float32) for n in (5, 200)
    )
    norm_N = norms(corpus, side="corpus")
    error_Q = score_error_Q(norms(query, side="query"), float(norm_N.max()), dimension)
    pairs = np.divmod(np.arange(5 * 200), 200)
    exact_QN = pair_scores(query, corpus, *pairs).reshape(5, 200)
    off_QN = np.abs((query @ corpus.T).astype(np.float64) - exact_QN)
    assert (off_QN <= error_Q[:, None]).all()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e20])
def test_norms_are_upper_bounds_within_a_thousandth(scale):
    vectors = (np.random.default_rng(2).standard_normal((50, 47)) * scale).astype(np.float32)
    exact = np.linalg.norm(vectors.astype(np.float64), axis=1)
    found = norms(vectors, side="corpus")
    assert (found >= exact).all()
    assert (found <= exact * 1.001).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_number_names_side_and_row(bad):
    vectors = np.ones((10, 3), np.float32)
    vectors[6, 2] = bad
    with pytest.raises(VectorError, match="corpus row 106") as error:
        norms(vectors, side="corpus", first_row=100)
    assert (error.value.side, error.value.row) == ("corpus", 106)


def test_overflowing_scores_are_refused():
    with pytest.raises(VectorError, match="overflows a float32 score"):
        check_range(np.array([1e20]), np.array([1.0, 1e20]))
