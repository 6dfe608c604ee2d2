"""Retrieval and the way from vectors to scores, on corpora small enough to see."""

from __future__ import annotations

import numpy as np
import pytest

from whet.config import EvaluateConfig
from whet.errors import ConfigError, DataError
from whet.evaluation.judge import evaluate_run, judgments_of
from whet.evaluation.retrieval import retrieve, run_of
from whet.types import Embeddings, Qrels


def brute_force(query_QD, corpus_ND, k):
    """The obvious search: all scores, sorted, ties by row."""
    score_QN = query_QD @ corpus_ND.T
    rows_QK = np.argsort(-score_QN, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(score_QN, rows_QK, axis=1), rows_QK


def vectors(ids: list[str], rows: list[list[float]]) -> Embeddings:
    return Embeddings(ids, np.array(rows, np.float32))


QUERIES = vectors(["q1", "d2"], [[1, 0], [0, 1]])
CORPUS = vectors(["d1", "d2", "d3"], [[0.9, 0.1], [0.5, 0.8], [0.1, 0.9]])


def found(queries: Embeddings, corpus: Embeddings, depth: int, **options) -> dict[str, list[str]]:
    scores_QK, rows_QK = retrieve(queries, corpus, depth, search=brute_force, **options)
    run = run_of(scores_QK, rows_QK, queries.ids, corpus.ids)
    return {query: list(docs) for query, docs in run.items()}


def test_the_nearest_come_first() -> None:
    assert found(QUERIES, CORPUS, 2) == {"q1": ["d1", "d2"], "d2": ["d3", "d2"]}


def test_depth_over_the_corpus_gives_the_corpus() -> None:
    assert found(QUERIES, CORPUS, 9) == {"q1": ["d1", "d2", "d3"], "d2": ["d3", "d2", "d1"]}


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (1, {"q1": ["d1"], "d2": ["d3"]}),
        (2, {"q1": ["d1", "d2"], "d2": ["d3", "d1"]}),
        (3, {"q1": ["d1", "d2", "d3"], "d2": ["d3", "d1"]}),
    ],
)
def test_own_document_is_left_out_only_when_asked(depth: int, expected) -> None:
    assert found(QUERIES, CORPUS, depth, ignore_identical_ids=True) == expected
    assert "d2" in found(QUERIES, CORPUS, 3)["d2"]


def test_padding_of_a_backend_is_left_out() -> None:
    scores_QK = np.array([[0.5, np.nan], [np.nan, np.nan]], np.float32)
    assert run_of(scores_QK, np.array([[1, -1], [-1, -1]]), ["q1", "q2"], ["a", "b"]) == {
        "q1": {"b": 0.5},
        "q2": {},
    }


def test_a_score_that_is_not_finite_names_query_and_document() -> None:
    with pytest.raises(DataError, match=r"document 'b' for query 'q1' is inf.*encode again"):
        run_of(np.array([[np.inf]]), np.array([[1]]), ["q1"], ["a", "b"])


@pytest.mark.parametrize(
    ("queries", "corpus", "depth", "error", "message"),
    [
        (QUERIES, CORPUS, 0, ConfigError, "evaluate.depth is 0"),
        (QUERIES.take(np.array([], int)), CORPUS, 1, DataError, "no queries to evaluate"),
        (QUERIES, CORPUS.take(np.array([], int)), 1, DataError, "no corpus to evaluate"),
        (vectors(["q"], [[1, 0, 0]]), CORPUS, 1, DataError, "3 dimensions, corpus vectors 2"),
    ],
)
def test_what_cannot_be_searched(queries, corpus, depth, error, message) -> None:
    with pytest.raises(error, match=message):
        retrieve(queries, corpus, depth, search=brute_force)


def test_judgments_by_row_become_judgments_by_id() -> None:
    qrels = Qrels(np.array([0, 1, 1]), np.array([2, 0, 1]), np.array([1.0, 2.0, 0.0], np.float32))
    assert judgments_of(qrels, QUERIES.ids, CORPUS.ids) == {
        "q1": {"d3": 1},
        "d2": {"d1": 2, "d2": 0},
    }
    half = Qrels(np.array([0]), np.array([2]), np.array([0.5], np.float32))
    with pytest.raises(DataError, match=r"relevance 0\.5 of document 'd3' for query 'q1'"):
        judgments_of(half, QUERIES.ids, CORPUS.ids)


def test_from_vectors_to_scores() -> None:
    config = EvaluateConfig(measures=["RR@10", "R@1", "nDCG@10"], depth=10)
    judgments = {"q1": {"d2": 1}, "d2": {"d3": 1}, "q9": {"d1": 1}}  # q9 has no vector
    evaluation = evaluate_run(QUERIES, CORPUS, judgments, config, search=brute_force)
    assert evaluation.scores.per_query["RR@10"] == {"q1": 0.5, "d2": 1.0, "q9": 0.0}
    assert evaluation.scores.means["R@1"] == pytest.approx(1 / 3)
    assert evaluation.scores.means["nDCG@10"] == pytest.approx((1 / np.log2(3) + 1) / 3)
    assert list(evaluation.run["q1"]) == ["d1", "d2", "d3"]


def test_the_search_used_by_default_is_exact() -> None:
    random = np.random.default_rng(0)
    queries = Embeddings([f"q{i}" for i in range(31)], random.integers(-2, 3, (31, 5)).astype("f4"))
    corpus = Embeddings(
        [f"d{i}" for i in range(123)], random.integers(-2, 3, (123, 5)).astype("f4")
    )
    found = retrieve(queries, corpus, 47)
    expected = retrieve(queries, corpus, 47, search=brute_force)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])  # whole numbers: full of ties, which go by row
