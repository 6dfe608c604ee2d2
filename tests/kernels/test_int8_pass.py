"""The int8 first pass: its bound holds, and corpora made to fool it do not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whet_kernels.topk.cpu import int8 as int8_pass
from whet_kernels.topk.cpu.block import Tile
from whet_kernels.topk.cpu.int8 import SCALED_ROWS, Int8, Int8Tile, int8_error_B
from whet_kernels.topk.cpu.search import mine_topk_tiled
from whet_kernels.topk.exact import VectorError, norms
from whet_kernels.topk.reference import mine_topk_reference
from whet_kernels.topk.window import Exclude, window_of

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def every_query_goes_through_int8(monkeypatch):
    monkeypatch.setattr(int8_pass, "DOUBT", 2.0)


def both(query, corpus, k, **window):
    """The int8 pass and the oracle."""
    given = {"ceiling_Q": None, "floor_Q": None, "exclude": None, **window}
    found = mine_topk_tiled(
        query, corpus, k, window_of(len(query), len(corpus), **given), int8=True
    )
    return found, mine_topk_reference(
        query, corpus, k, window_of(len(query), len(corpus), **window)
    )


def assert_same(found, expected):
    for name, a, b in zip(expected._fields, found, expected, strict=True):
        assert np.array_equal(a, b, equal_nan=a.dtype == np.float32), name


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 200),
    dimension=st.sampled_from([2, 31, 47, 123, 384, 1024]),
    scale=st.sampled_from([1e-38, 1e-25, 1e-10, 1e-3, 1.0, 1e3, 1e12]),
    outliers=st.booleans(),
)
def test_no_score_is_further_from_the_product_than_the_bound(
    seed, rows, dimension, scale, outliers
):
    rng = np.random.default_rng(seed)
    query, corpus = (
        (rng.standard_normal((n, dimension)) * scale).astype(np.float32) for n in (5, rows)
    )
    if outliers:  # one number that takes the whole range of its group
        corpus[rng.integers(0, rows), 0] *= np.float32(100)
    norm_Q, norm_N = norms(query, side="query"), norms(corpus, side="corpus")
    with ThreadPoolExecutor(1) as pool:
        tile = Int8Tile.of(Tile(0, corpus, norm_N), pool)
        some = Int8.of(query, norm_Q, 1, pool)
    sums = some.whole_RD.double() @ tile.int8.whole_RD.double().T
    scale_N = np.repeat(tile.int8.scale_G, SCALED_ROWS)[:rows]
    scores = sums.numpy()[:, :rows] * some.scale_G[:, None] * scale_N
    error = int8_error_B(norm_Q, some.lost_R, tile)[:, None]
    error = error + norm_Q[:, None] * np.repeat(tile.lost_G, SCALED_ROWS)[:rows]
    exact = query.astype(np.float64) @ corpus.astype(np.float64).T
    assert (np.abs(scores - exact) <= error).all()


def test_the_best_rows_all_in_one_group():
    """Forty best rows side by side, among many a hair worse: a maximum a group is not enough."""
    rng = np.random.default_rng(0)
    corpus = rng.standard_normal((5000, 47)).astype(np.float32)
    query = rng.standard_normal((6, 47)).astype(np.float32)
    corpus[1234:1274] = query[0] + rng.standard_normal((40, 47)).astype(np.float32) * 1e-3
    corpus[::2] = query[0] * 0.999 + rng.standard_normal((2500, 47)).astype(np.float32) * 1e-3
    assert_same(*both(query, corpus, 33))


def test_rows_that_int8_cannot_tell_apart():
    """Rows that differ by less than an int8 step, in falling order, so that each one looks new."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal(64)
    steps = np.linspace(1, 1 + 1e-4, 3000)[:, None]
    corpus = (base * steps).astype(np.float32)
    query = np.stack([base, -base]).astype(np.float32)
    ceiling = mine_topk_reference(query, corpus, 1500).scores_Qk[:, -1].copy()
    assert_same(*both(query, corpus, 20, ceiling_Q=ceiling))


@pytest.mark.parametrize("k", [1, 7, 300, 4096])
def test_every_k_with_exclusions_at_the_top(k):
    rng = np.random.default_rng(k)
    query, corpus = (rng.standard_normal((n, 33)).astype(np.float32) for n in (7, 5000))
    best = mine_topk_reference(query, corpus, 600).rows_Qk
    lists = [best[0], best[1][::2], [], best[3][:1], best[4][5:400], best[5], [9]]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in lists])])
    exclude = Exclude(offsets, np.concatenate(lists).astype(np.int64))
    assert_same(*both(query, corpus, k, exclude=exclude))


def test_zero_vectors_negative_zeros_and_subnormals():
    rng = np.random.default_rng(0)
    corpus = rng.standard_normal((700, 31)).astype(np.float32)
    corpus[::3] = 0.0
    corpus[1::7] = -0.0
    corpus[2::5] *= np.float32(1e-42)
    query = np.concatenate([np.zeros((1, 31)), rng.standard_normal((3, 31))]).astype(np.float32)
    assert_same(*both(query, corpus, 12, ceiling_Q=np.zeros(4, np.float32)))


def test_the_same_bits_twenty_times_with_any_number_of_threads():
    rng = np.random.default_rng(0)
    query, corpus = (rng.standard_normal((n, 47)).astype(np.float32) for n in (50, 3000))
    ceiling = mine_topk_reference(query, corpus, 40).scores_Qk[:, -1].copy()
    found, expected = both(query, corpus, 16, ceiling_Q=ceiling)
    before = torch.get_num_threads()
    try:
        for run in range(20):
            torch.set_num_threads(1 + run % 3)
            found, _ = both(query, corpus, 16, ceiling_Q=ceiling)
            assert_same(found, expected)
    finally:
        torch.set_num_threads(before)


def test_a_bad_vector_is_named_by_its_row_in_the_corpus():
    corpus = np.ones((5000, 8), np.float32)
    corpus[4321, 3] = np.inf
    with pytest.raises(VectorError, match="corpus row 4321"):
        both(np.ones((2, 8), np.float32), corpus, 3)
