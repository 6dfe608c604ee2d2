"""backend=ivf: what it finds is right, what it misses is told, and it looks until it has enough."""

from __future__ import annotations

import numpy as np
import pytest

from whet.errors import ConfigError, EnvironmentRefused, MiningError
from whet.mining.miner import mine
from whet.mining.policy import policy_from
from whet.mining.search import windowed_search
from whet.mining.search.backend import search_task
from whet.types import Embeddings
from whet_kernels.topk.reference import mine_topk_reference
from whet_kernels.topk.window import Exclude, window_of


def unit(rng, count, dimension=24):
    values = rng.standard_normal((count, dimension)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture
def vectors():
    """30 queries near 30 of 60 centres, 4,000 documents around all of them."""
    rng = np.random.default_rng(0)
    centres = unit(rng, 60)
    corpus = centres[rng.integers(0, 60, 4000)] + 0.5 * unit(rng, 4000)
    corpus /= np.linalg.norm(corpus, axis=1, keepdims=True)
    return centres[:30].copy(), corpus.astype(np.float32)


def test_what_it_finds_is_in_the_window_scored_exactly_and_its_recall_is_told(vectors):
    query, corpus = vectors
    exact = mine_topk_reference(query, corpus, 40)
    ceiling = exact.scores_Qk[:, 4].copy()
    exclude = Exclude(np.arange(31), exact.rows_Qk[:, 6].copy())
    expected = mine_topk_reference(
        query, corpus, 10, window_of(len(query), len(corpus), ceiling_Q=ceiling, exclude=exclude)
    )
    found = windowed_search(
        search_task(query, corpus, ceiling_Q=ceiling, exclude=exclude), 10, backend="ivf"
    )
    rows, scores = found.top.rows_Qk, found.top.scores_Qk
    assert (rows >= 0).all()
    assert (scores <= ceiling[:, None]).all()
    assert not (rows == exact.rows_Qk[:, 6:7]).any()
    pairs = np.einsum("qd,qkd->qk", query.astype(np.float64), corpus[rows].astype(np.float64))
    assert np.abs(pairs - scores).max() < 1e-6
    hits = np.mean(
        [len(np.intersect1d(a, b)) / 10 for a, b in zip(rows, expected.rows_Qk, strict=True)]
    )
    assert f"recall@10 is {hits:.1%} on 30 queries" in found.why
    assert hits > 0.8
    told = found.top.excluded_Q + found.top.above_Q + found.top.below_Q + found.unseen_Q
    assert (told <= 4000).all()
    assert (found.unseen_Q > 0).all()


def test_it_widens_until_it_has_k_even_if_all_near_documents_are_above_the_ceiling(vectors):
    query, corpus = vectors
    ceiling = mine_topk_reference(query, corpus, 3995).scores_Qk[:, -1].copy()
    expected = mine_topk_reference(
        query, corpus, 9, window_of(len(query), len(corpus), ceiling_Q=ceiling)
    )  # only six are left
    found = windowed_search(search_task(query, corpus, ceiling_Q=ceiling), 9, backend="ivf")
    assert np.array_equal(found.top.rows_Qk, expected.rows_Qk)
    assert (found.unseen_Q == 0).all()


def test_a_corpus_of_one_document_and_a_memory_map(tmp_path, vectors):
    query, corpus = vectors
    assert (
        windowed_search(search_task(query, corpus[:1]), 2, backend="ivf").top.rows_Qk.tolist()
        == [[0, -1]] * 30
    )
    np.save(tmp_path / "corpus.npy", corpus)
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    a, b = (
        windowed_search(search_task(query, part), 5, backend="ivf").top for part in (corpus, mapped)
    )
    assert np.array_equal(a.rows_Qk, b.rows_Qk)


def test_a_bad_vector_is_named(vectors):
    query, corpus = vectors
    corpus[77, 3] = np.nan
    ids = [f"d{row}" for row in range(len(corpus))]
    with pytest.raises(MiningError, match="corpus 'd77'"):
        windowed_search(search_task(query, Embeddings(ids, corpus)), 5, backend="ivf")


def test_mining_with_it_tells_what_was_not_seen(random_data):
    queries, corpus, positives = random_data
    mined = mine(queries, corpus, positives, policy_from({"num_negatives": 3, "backend": "ivf"}))
    assert "recall@3" in str(mined.report)
    assert (mined.negatives.ranks_RK == -1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank_window": "raw"}, "rank_window=raw counts ranks over the whole corpus"),
        ({"sampling": "random"}, "Give range_max"),
    ],
)
def test_what_it_cannot_do_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        policy_from({"backend": "ivf", **options})


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU")
def test_a_gpu_that_is_asked_for_and_not_there_is_one_line(vectors):
    with pytest.raises(EnvironmentRefused, match="backend=gpu needs a CUDA GPU and there is none"):
        windowed_search(search_task(*vectors), 3, backend="gpu")
