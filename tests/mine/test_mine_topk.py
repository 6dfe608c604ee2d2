"""Every backend against the oracle, to the bit, and the oracle against a plain loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.config import MiningConfig
from whet.config.option import rules_of
from whet.mining import search
from whet.mining.search import tiles, windowed_search
from whet.mining.search.backend import search_task
from whet_kernels.topk.cpu import int8 as int8_pass
from whet_kernels.topk.cpu.search import Tiling, mine_topk_tiled
from whet_kernels.topk.reference import mine_topk_reference
from whet_kernels.topk.search import mine_topk
from whet_kernels.topk.window import Exclude, window_of

pytestmark = pytest.mark.kernel


def tiled(tiling=None, **options):
    def run(query, corpus, k, **window):
        checked = window_of(len(query), len(corpus), **window)
        return mine_topk_tiled(query, corpus, k, checked, tiling=tiling, **options)

    return run


def int8_for_all():
    """Queries with many rows in doubt too, which the int8 pass would leave to float32."""

    def run(query, corpus, k, **window):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(int8_pass, "DOUBT", 2.0)
            return tiled(Tiling(130, 5, 2), int8=True)(query, corpus, k, **window)

    return run


def through_mine_topk(backend):
    def run(query, corpus, k, **window):
        window = window_of(len(query), len(corpus), **window)
        return mine_topk(query, corpus, k, window, backend=backend)

    return run


def through_search(backend):
    def run(query, corpus, k, **window):
        return windowed_search(search_task(query, corpus, **window), k, backend=backend).top

    return run


BACKENDS = {
    **{f"mine_topk, {name}": through_mine_topk(name) for name in ("auto", "cpu", "int8")},
    "tiles of 7 rows, 3 queries, no slack": tiled(Tiling(7, 3, 0)),
    "tiles of 100 rows": tiled(Tiling(100, 1000, 4)),
    "int8 wherever the ceiling is": int8_for_all(),
    "int8, tiles of 70 rows, 3 queries, no slack": tiled(Tiling(70, 3, 0), int8=True),
    **{name: through_search(name) for name in ("int8", "faiss", "blas")},
}
every_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS.keys())


def assert_same(found, expected):
    for name, a, b in zip(expected._fields, expected, found, strict=True):
        assert a.dtype == b.dtype, name
        assert np.array_equal(a, b, equal_nan=a.dtype == np.float32), name


def exclude_of(lists):
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in lists])]).astype(np.int64)
    return Exclude(offsets, np.concatenate([np.asarray(rows, np.int64) for rows in lists]))


def vectors(rng, kind, count, dimension):
    if kind == "ties":
        return rng.integers(-2, 3, (count, dimension)).astype(np.float32)
    values = rng.standard_normal((count, dimension)).astype(np.float32)
    if kind == "unit":
        return values / np.linalg.norm(values, axis=1, keepdims=True)
    if kind == "duplicates":
        return values[rng.integers(0, max(1, count // 10), count)]
    if kind == "zeros":
        values[rng.random(count) < 0.5] = 0
    if kind == "any norm":
        values *= np.float32(10) ** rng.integers(-20, 15, (count, 1))
    return values


def a_window(rng, scores, count, rows):
    """Thresholds that often equal a score, and exclusions from none to all, with repeats."""
    window = {}
    if rng.random() < 0.6:
        window["ceiling_Q"] = rng.choice(np.append(scores, np.float32(np.inf)), count)
    if rng.random() < 0.5:
        window["floor_Q"] = rng.choice(np.append(scores, np.float32(-np.inf)), count)
    if rng.random() < 0.6:
        sizes = rng.integers(0, rows + 5, count)
        window["exclude"] = exclude_of([rng.integers(0, rows, size) for size in sizes])
    return window


@every_backend
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    queries=st.integers(1, 8),
    rows=st.integers(1, 300),
    dimension=st.sampled_from([1, 2, 31, 47, 123]),
    k=st.sampled_from([1, 3, 17, 400]),
    kind=st.sampled_from(["unit", "ties", "duplicates", "zeros", "any norm"]),
)
def test_equals_the_oracle(backend, seed, queries, rows, dimension, k, kind):
    rng = np.random.default_rng(seed)
    query, corpus = (vectors(rng, kind, n, dimension) for n in (queries, rows))
    scores = mine_topk_reference(query, corpus, rows).scores_Qk.ravel()
    window = a_window(rng, scores, queries, rows)
    expected = mine_topk_reference(query, corpus, k, window_of(len(query), len(corpus), **window))
    assert_same(backend(query, corpus, k, **window), expected)


@every_backend
def test_odd_shape(backend):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 47, 123), vectors(rng, "unit", 31, 123)
    assert_same(backend(query, corpus, 5), mine_topk_reference(query, corpus, 5))


@every_backend
def test_a_corpus_of_one_vector(backend):
    """Nothing certifies here: every row ties with the k-th. The answer is the first rows."""
    query = np.ones((4, 31), np.float32)
    corpus = np.ones((3000, 31), np.float32)
    found = backend(query, corpus, 5, exclude=exclude_of([[0, 2]] * 4))
    assert found.rows_Qk.tolist() == [[1, 3, 4, 5, 6]] * 4


@every_backend
def test_many_rows_equal_to_the_ceiling(backend):
    corpus = np.repeat(np.float32([[0.5], [0.25]]), 1000, axis=0)
    found = backend(np.ones((2, 1), np.float32), corpus, 2, ceiling_Q=np.float32([0.5, 0.4999]))
    assert found.rows_Qk.tolist() == [[0, 1], [1000, 1001]]
    assert found.above_Q.tolist() == [0, 1000]


@every_backend
def test_hundreds_of_exclusions_at_the_top(backend):
    """The survivors of a query are all there even if its best thousand rows are excluded."""
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 6, 31), vectors(rng, "unit", 2000, 31)
    best = mine_topk_reference(query, corpus, 1000).rows_Qk
    exclude = exclude_of([best[0], best[1][:150], [], best[3][:1], best[4][:700], best[5][5:400]])
    expected = mine_topk_reference(
        query, corpus, 12, window_of(len(query), len(corpus), exclude=exclude)
    )
    assert (expected.rows_Qk >= 0).all()
    assert_same(backend(query, corpus, 12, exclude=exclude), expected)


@every_backend
def test_ceiling_under_most_of_the_corpus(backend):
    """Where most rows are false negatives a fixed depth comes back empty; this does not."""
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 5, 31), vectors(rng, "unit", 3000, 31)
    ceiling = mine_topk_reference(query, corpus, 2900).scores_Qk[:, -1].copy()
    expected = mine_topk_reference(
        query, corpus, 20, window_of(len(query), len(corpus), ceiling_Q=ceiling)
    )
    assert (expected.above_Q == 2899).all()
    assert (expected.rows_Qk >= 0).all()
    assert_same(backend(query, corpus, 20, ceiling_Q=ceiling), expected)


@pytest.mark.parametrize("deep", [0, 40, 300])
def test_faiss_hands_over_to_the_tiles_where_its_depth_is_not_enough(deep):
    """300 queries, of which the first `deep` have 400 rows above the ceiling."""
    import faiss

    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 300, 31), vectors(rng, "unit", 1500, 31)
    sorted_QN = mine_topk_reference(query, corpus, 401).scores_Qk
    ceiling = np.where(np.arange(300) < deep, sorted_QN[:, 400], sorted_QN[:, 10])
    expected = mine_topk_reference(
        query, corpus, 5, window_of(len(query), len(corpus), ceiling_Q=ceiling)
    )
    before = faiss.cvar.distance_compute_blas_threshold
    assert_same(BACKENDS["faiss"](query, corpus, 5, ceiling_Q=ceiling), expected)
    assert faiss.cvar.distance_compute_blas_threshold == before


def test_auto_says_why(tmp_path):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 3, 8), vectors(rng, "unit", 90, 8)
    np.save(tmp_path / "corpus.npy", corpus)
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    assert windowed_search(search_task(query, corpus), 3).backend == "faiss"
    for found, why in [
        (windowed_search(search_task(query, mapped), 3), "memory map"),
        (
            windowed_search(search_task(query, corpus, floor_Q=np.zeros(3, np.float32)), 3),
            "min_score",
        ),
        (windowed_search(search_task(query, corpus), 2500), "2,500 a query"),
        (windowed_search(search_task(query, corpus), 3, backend="blas"), "asked for"),
    ]:
        assert found.backend == "blas"
        assert why in found.why


@pytest.mark.parametrize("backend", ["blas", "int8", "faiss"])
def test_the_report_says_how_many_queries_were_scanned_again(backend):
    """Those whose last result ties with what was not kept: all, in a corpus of one vector."""
    query, corpus = np.eye(3, 8, dtype=np.float32), np.full((90, 8), 0.25, np.float32)
    found = windowed_search(search_task(query, corpus), 3, backend=backend)
    assert "3 of 3 queries were scanned again" in found.why
    assert ("3 of 3 queries went to blas" in found.why) == (backend == "faiss")
    rng = np.random.default_rng(0)
    corpus = vectors(rng, "unit", 90, 8)
    assert windowed_search(search_task(query, corpus), 3, backend=backend).why == "asked for"


def test_auto_takes_int8_for_a_large_corpus_where_the_cpu_is_fast_at_it(monkeypatch):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 100, 4), vectors(rng, "unit", 8192, 4)
    monkeypatch.setattr(tiles, "FEW_PRODUCTS", 400 * 8192)
    monkeypatch.setattr(int8_pass, "int8_gain", lambda: 3.0)
    found = windowed_search(search_task(query, corpus), 1)
    assert (found.backend, found.why[:33]) == ("int8", "int8 products run at 3.0 times th")
    monkeypatch.setattr(int8_pass, "int8_gain", lambda: 0.9)
    assert windowed_search(search_task(query, corpus), 1).backend == "faiss"
    monkeypatch.setattr(int8_pass, "int8_gain", lambda: 3.0)
    assert (
        "99 queries times 8,192 documents are few"
        in windowed_search(search_task(query[1:], corpus), 1).why
    )


def test_a_gpu_that_fails_is_told_and_the_cpu_takes_over(monkeypatch, capsys):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 3, 8), vectors(rng, "unit", 90, 8)

    def fails(task, k):
        raise RuntimeError("no kernel image is available\nlong story")

    broken = replace(search.gpu, missing=lambda: "", suits=lambda *_: (True, ""), run=fails)
    monkeypatch.setattr(search, "gpu", broken)
    monkeypatch.setitem(search.BACKENDS, "gpu", broken)
    found = windowed_search(search_task(query, corpus), 3)
    assert (found.backend, found.why) == (
        "blas",
        "not gpu: RuntimeError: no kernel image is available",
    )
    assert "Searching on the CPU" in capsys.readouterr().err
    assert_same(found.top, mine_topk_reference(query, corpus, 3))
    with pytest.raises(RuntimeError, match="long story"):
        windowed_search(search_task(query, corpus), 3, backend="gpu")


@pytest.mark.parametrize(("backend", "told"), [("blas", "90 of 90"), ("faiss", "3 of 3")])
def test_a_long_search_shows_where_it_is(backend, told, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 3, 8), vectors(rng, "unit", 90, 8)
    windowed_search(search_task(query, corpus), 3, backend=backend)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("whet.mining.search.backend.LONG", 1)
    windowed_search(search_task(query, corpus), 3, backend=backend)
    assert f"Searching: {told}" in capsys.readouterr().err


def test_a_policy_can_name_every_backend():
    assert rules_of(MiningConfig)["backend"].choices == ("auto", *search.BACKENDS)


@pytest.mark.parametrize("backend", ["cpu", "int8"])
@pytest.mark.parametrize("moved", [0.0, 0.1, 3.0])
def test_hints_change_nothing_however_old(backend, moved, monkeypatch):
    """Results of a search before the vectors moved, with repeats, -1 and rows now excluded."""
    monkeypatch.setattr(int8_pass, "DOUBT", 2.0)
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 40, 47), vectors(rng, "unit", 1200, 47)
    ceiling = mine_topk_reference(query, corpus, 20).scores_Qk[:, -1].copy()
    exclude = exclude_of([rng.integers(0, 1200, size) for size in rng.integers(0, 30, 40)])
    window = {"ceiling_Q": ceiling, "exclude": exclude}
    before = mine_topk_reference(
        query, corpus, 12, window_of(len(query), len(corpus), **window)
    ).rows_Qk
    before[::3, 0] = before[::3, 1]
    before[::4, 5] = -1
    corpus = corpus + np.float32(moved) * vectors(rng, "unit", 1200, 47)
    found = mine_topk(
        query,
        corpus,
        9,
        window_of(len(query), len(corpus), **window),
        backend=backend,
        hint_QC=before,
    )
    assert_same(
        found, mine_topk_reference(query, corpus, 9, window_of(len(query), len(corpus), **window))
    )


@every_backend
def test_more_than_faiss_gives_on_a_gpu(backend):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 2, 8), vectors(rng, "unit", 2600, 8)
    expected = mine_topk_reference(query, corpus, 2500)
    assert_same(backend(query, corpus, 2500), expected)


@every_backend
def test_empty_corpus_and_no_queries(backend):
    found = backend(np.ones((2, 3), np.float32), np.ones((0, 3), np.float32), 4)
    assert (found.rows_Qk == -1).all()
    assert np.isnan(found.scores_Qk).all()
    assert backend(np.ones((0, 3), np.float32), np.ones((5, 3), np.float32), 4).rows_Qk.size == 0


def test_threads_tiles_and_query_subsets_do_not_change_a_bit():
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 40, 47), vectors(rng, "unit", 1999, 47)
    ceiling = mine_topk_reference(query, corpus, 30).scores_Qk[:, -1].copy()
    expected = mine_topk_reference(
        query, corpus, 10, window_of(len(query), len(corpus), ceiling_Q=ceiling)
    )
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for rows in (170, 1999):
                run = tiled(Tiling(rows, 16, 8))
                assert_same(run(query, corpus, 10, ceiling_Q=ceiling), expected)
    finally:
        torch.set_num_threads(before)
    some = rng.permutation(40)[:7]
    for backend in BACKENDS.values():
        found = backend(query[some], corpus, 10, ceiling_Q=ceiling[some])
        assert np.array_equal(found.scores_Qk, expected.scores_Qk[some])
        assert np.array_equal(found.rows_Qk, expected.rows_Qk[some])


def test_lower_matmul_precision_of_a_training_run_does_not_reach_the_scores():
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 8, 384), vectors(rng, "unit", 500, 384)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert_same(mine_topk(query, corpus, 9), mine_topk_reference(query, corpus, 9))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"ceiling_Q": np.zeros(2)}, "ceiling_Q must be float32"),
        ({"ceiling_Q": np.zeros(3, np.float32)}, "ceiling_Q must be float32"),
        ({"floor_Q": np.float32([0, np.nan])}, "without NaN"),
        ({"exclude": Exclude(np.array([0, 1]), np.array([0]))}, "must have 2"),
        ({"exclude": Exclude(np.array([0, 1, 1]), np.array([9]))}, "outside the corpus of 9"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(window, message):
    query, corpus = np.ones((2, 3), np.float32), np.ones((9, 3), np.float32)
    with pytest.raises(ValueError, match=message):
        mine_topk(query, corpus, 1, window_of(len(query), len(corpus), **window))


def test_half_precision_corpus_is_widened_exactly(tmp_path):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 5, 47), vectors(rng, "unit", 300, 47).astype(np.float16)
    expected = mine_topk_reference(query, corpus.astype(np.float32), 9)
    np.save(tmp_path / "half.npy", corpus)
    assert_same(mine_topk(query, np.load(tmp_path / "half.npy", mmap_mode="r"), 9), expected)
