"""`mine` as a whole: independence of batches, sampling, short rows, counts, what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from whet.config import MiningConfig
from whet.errors import ConfigError, MiningError
from whet.mining.miner import mine
from whet.mining.policy import exclusions
from whet.types import Embeddings
from whet_kernels.topk.reference import mine_topk_reference

POLICIES = {
    "default": MiningConfig(num_negatives=3),
    "deep": MiningConfig(num_negatives=3, range_min=20, range_max=100),
    "raw": MiningConfig(num_negatives=3, range_min=5, range_max=60, rank_window="raw"),
    "raw without end": MiningConfig(num_negatives=3, range_min=5, rank_window="raw"),
    "random of the window": MiningConfig(num_negatives=3, range_max=50, sampling="random"),
    "random of all": MiningConfig(num_negatives=3, sampling="random"),
    "random past the first": MiningConfig(num_negatives=3, range_min=30, sampling="random"),
    "random of few": MiningConfig(
        num_negatives=3, sampling="random", min_score=0.2, relative_margin=0.3
    ),
    "raw random": MiningConfig(num_negatives=3, range_min=9, rank_window="raw", sampling="random"),
    "each": MiningConfig(num_negatives=3, reference="each", relative_margin=0.4),
    "filled": MiningConfig(num_negatives=3, min_score=0.25, on_short="random"),
    "dropped": MiningConfig(num_negatives=3, min_score=0.25, on_short="drop"),
}
every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
FIELDS = ("doc_rows_RK", "scores_RK", "ranks_RK", "positive_scores_R")


def assert_rows_equal(some, whole, rows_S):
    """`some` was mined from the queries `rows_S` of `whole`."""
    at = np.concatenate([np.flatnonzero(whole.query_rows_R == row) for row in rows_S])
    assert rows_S[some.query_rows_R].tolist() == whole.query_rows_R[at].tolist()
    for name in FIELDS:
        a, b = getattr(some, name), getattr(whole, name)[at]
        assert np.array_equal(a, b, equal_nan=a.dtype == np.float32), name


@every_policy
def test_a_query_does_not_depend_on_the_others(random_data, policy):
    queries, corpus, positives = random_data
    whole = mine(queries, corpus, positives, policy, refresh=3).negatives
    rng = np.random.default_rng(0)
    for rows in (np.arange(40)[::-1], rng.permutation(40)[:11], np.array([8])):
        some = mine(queries.take(rows), corpus, positives.take(rows), policy, refresh=3).negatives
        assert_rows_equal(some, whole, rows)


@every_policy
def test_backends_agree_to_the_bit(random_data, policy):
    faiss, blas = (
        mine(*random_data, replace(policy, backend=name)).negatives for name in ("faiss", "blas")
    )
    for name in ("query_rows_R", *FIELDS):
        a, b = getattr(faiss, name), getattr(blas, name)
        assert np.array_equal(a, b, equal_nan=a.dtype == np.float32), name


@every_policy
def test_counts_add_up_and_negatives_are_allowed(random_data, policy):
    queries, corpus, positives = random_data
    mined = mine(queries, corpus, positives, policy)
    report, negatives = mined.report, mined.negatives
    parts = (report.excluded, report.above, report.below, report.unproposed, report.allowed)
    assert (np.sum(parts, axis=0) == 500).all()
    assert min(report.allowed) >= 0
    exclude = exclusions(positives)
    for r, row in enumerate(negatives.doc_rows_RK):
        found = row[row >= 0]
        q = int(negatives.query_rows_R[r])
        forbidden = exclude.rows_E[exclude.offsets_Q1[q] : exclude.offsets_Q1[q + 1]]
        assert len(set(found.tolist())) == len(found)
        assert not np.isin(found, forbidden).any()


@pytest.mark.parametrize("name", ["default", "deep", "raw", "raw without end", "each"])
def test_ranks_and_order_equal_a_full_sort(random_data, name):
    """Ranks are places in the unfiltered ranking; the negatives are what a plain loop picks."""
    queries, corpus, positives = random_data
    policy = POLICIES[name]
    negatives = mine(queries, corpus, positives, policy).negatives
    every = mine_topk_reference(queries.vectors, corpus.vectors, 500)
    exclude = exclusions(positives)
    last = 10**9 if policy.range_max is None else policy.range_max
    for r, q in enumerate(negatives.query_rows_R):
        forbidden = exclude.rows_E[exclude.offsets_Q1[q] : exclude.offsets_Q1[q + 1]]
        reference = negatives.positive_scores_R[r].astype(np.float64)
        ceiling = np.float32(reference - abs(reference) * policy.relative_margin)
        survivors = [
            (rank, row)
            for rank, (row, score) in enumerate(
                zip(every.rows_Qk[q].tolist(), every.scores_Qk[q], strict=True)
            )
            if row not in forbidden and (np.isnan(ceiling) or score <= ceiling)
        ]
        place = [
            rank if policy.rank_window == "raw" else j for j, (rank, _) in enumerate(survivors)
        ]
        kept = [
            pair for p, pair in zip(place, survivors, strict=True) if policy.range_min <= p < last
        ][: policy.num_negatives]
        found = negatives.doc_rows_RK[r] >= 0
        assert negatives.doc_rows_RK[r, found].tolist() == [row for _, row in kept]
        assert negatives.ranks_RK[r, found].tolist() == [rank for rank, _ in kept]


def test_random_of_all_is_uniform_over_the_survivors(random_data):
    """Over 400 refreshes each of a query's survivors is drawn about equally often (chi-squared)."""
    queries, corpus, positives = random_data
    row = np.array([4])
    one, its = queries.take(row), positives.take(row)
    policy = MiningConfig(num_negatives=5, sampling="random", relative_margin=0.3)
    allowed = mine(one, corpus, its, policy).report.allowed[0]
    drawn = np.concatenate(
        [mine(one, corpus, its, policy, refresh=i).negatives.doc_rows_RK[0] for i in range(400)]
    )
    counts = np.bincount(drawn, minlength=500)
    expected = 400 * 5 / allowed
    hit = np.sort(counts)[-allowed:]
    assert counts.sum() == hit.sum()
    statistic = ((hit - expected) ** 2 / expected).sum()
    assert abs(statistic - allowed) < 5 * np.sqrt(2 * allowed)


def test_seed_and_refresh_change_the_draw(random_data):
    policy = POLICIES["random of the window"]
    one = mine(*random_data, policy).negatives.doc_rows_RK
    assert np.array_equal(one, mine(*random_data, policy).negatives.doc_rows_RK)
    assert not np.array_equal(one, mine(*random_data, policy, refresh=1).negatives.doc_rows_RK)
    other = replace(policy, seed=1)
    assert not np.array_equal(one, mine(*random_data, other).negatives.doc_rows_RK)


def test_on_short(random_data):
    kept = mine(*random_data, replace(POLICIES["filled"], on_short="keep"))
    short = np.array(kept.report.short) > 0
    assert 0 < short.sum() < 40
    dropped = mine(*random_data, POLICIES["dropped"])
    assert dropped.negatives.query_rows_R.tolist() == np.flatnonzero(~short).tolist()
    assert dropped.report.dropped_rows == short.sum()
    filled = mine(*random_data, POLICIES["filled"])
    assert (filled.negatives.found_R == 3).all()
    assert filled.report.filled == sum(kept.report.short)
    found = kept.negatives.doc_rows_RK >= 0
    assert np.array_equal(filled.negatives.doc_rows_RK[found], kept.negatives.doc_rows_RK[found])
    assert (filled.negatives.ranks_RK[~found] == -1).all()
    for report in (kept.report, dropped.report, filled.report):
        assert report.short_rows == short.sum()


def test_filling_stops_where_the_corpus_does():
    """Three documents, one of them the positive: two negatives at most, never the positive."""
    rng = np.random.default_rng(0)
    corpus = Embeddings(list("abc"), rng.standard_normal((3, 4)).astype(np.float32))
    query = Embeddings(["q"], corpus.vectors[1:2])
    from whet.types import Positives

    positives = Positives(np.array([0, 1]), np.array([1]), np.arange(3))
    policy = MiningConfig(num_negatives=5, min_score=1e9, on_short="random")
    mined = mine(query, corpus, positives, policy)
    assert sorted(mined.negatives.doc_rows_RK[0].tolist()) == [-1, -1, -1, 0, 2]


def test_queries_without_positives_have_only_max_score(random_data):
    queries, corpus, positives = random_data
    mined = mine(queries, corpus, positives, MiningConfig(num_negatives=2))
    assert mined.report.without_positives == 1
    assert np.isnan(mined.negatives.positive_scores_R[7])
    assert mined.negatives.ranks_RK[7].tolist() == [0, 1]


@pytest.mark.parametrize("which", ["query", "positive", "other document"])
@pytest.mark.parametrize("backend", ["faiss", "blas"])
def test_nan_names_the_id(random_data, which, backend):
    queries, corpus, positives = random_data
    vectors = {"query": queries.vectors.copy(), "corpus": corpus.vectors.copy()}
    row = {"query": 5, "positive": int(positives.of(3)[0]), "other document": 499}[which]
    side = "query" if which == "query" else "corpus"
    vectors[side][row, 2] = np.nan
    name = f"{'q' if side == 'query' else 'd'}{row}"
    with pytest.raises(MiningError, match=f"{side} '{name}' .row {row}.: the vector holds NaN"):
        mine(
            Embeddings(queries.ids, vectors["query"]),
            Embeddings(corpus.ids, vectors["corpus"]),
            positives,
            MiningConfig(backend=backend),
        )


def test_what_does_not_fit_is_refused(random_data):
    queries, corpus, positives = random_data
    narrow = Embeddings(queries.ids, queries.vectors[:, :30])
    with pytest.raises(MiningError, match=r"queries have \(30,\) dimensions, the corpus \(31,\)"):
        mine(narrow, corpus, positives, MiningConfig())
    with pytest.raises(MiningError, match="40 queries but positives of 3"):
        mine(queries, corpus, positives.take(np.arange(3)), MiningConfig())
    fewer = Embeddings(corpus.ids[:9], corpus.vectors[:9])
    with pytest.raises(MiningError, match="9 document vectors but positives over 500 documents"):
        mine(queries, fewer, positives, MiningConfig())
    with pytest.raises(ConfigError, match="mining_rescorer"):
        mine(queries, corpus, positives, MiningConfig(cross_encoder="some/model"))


def test_memory_map_is_mined_as_the_array(random_data, tmp_path):
    queries, corpus, positives = random_data
    np.save(tmp_path / "corpus.npy", corpus.vectors)
    mapped = Embeddings(corpus.ids, np.load(tmp_path / "corpus.npy", mmap_mode="r"))
    a, b = (mine(queries, one, positives, MiningConfig()) for one in (corpus, mapped))
    assert np.array_equal(a.negatives.doc_rows_RK, b.negatives.doc_rows_RK)
    assert b.report.backend == "blas"
    assert "memory map" in b.report.why


def test_renumbered_to_the_rows_of_the_table(random_data):
    queries, corpus, positives = random_data
    rows = np.array([30, 2, 7])
    mined = mine(queries.take(rows), corpus, positives.take(rows), MiningConfig())
    back = mined.renumbered(rows)
    assert back.negatives.query_rows_R.tolist() == [30, 2, 7]
    assert back.report.query_rows == [30, 2, 7]
    assert {row["query_row"] for row in back.report.sample} == {30, 2, 7}
