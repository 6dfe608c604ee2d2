"""Mining among some documents is mining in the corpus, as long as the right ones are among them."""

from __future__ import annotations

import numpy as np
import pytest

from whet.config import MiningConfig
from whet.errors import ConfigError
from whet.mining.miner import mine
from whet.mining.part import candidates_of, check_for_part, chosen_rows, mine_part
from whet.types import Embeddings

POLICIES = [
    {"num_negatives": 4},
    {"num_negatives": 3, "range_min": 2, "range_max": 9},
    {"num_negatives": 3, "sampling": "random", "range_max": 8},
    {"num_negatives": 2, "reference": "each", "absolute_margin": 0.1},
    {"num_negatives": 2, "max_score": 0.2, "min_score": -0.1},
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_candidates_of_unchanged_vectors_give_the_same_negatives(random_data, policy):
    """In every query, also those whose positive scores low and whose negatives lie far down."""
    queries, corpus, positives = random_data
    policy = MiningConfig(**policy)
    full = mine(*random_data, policy, refresh=3)
    candidate_LC = candidates_of(*random_data, policy, 10)
    rows_S = chosen_rows(candidate_LC, positives.doc_rows_P, len(corpus))
    assert len(rows_S) < len(corpus)
    found = mine_part(queries, corpus.take(rows_S), rows_S, positives, policy, refresh=3)
    assert np.array_equal(found.negatives.query_rows_R, full.negatives.query_rows_R)
    assert np.array_equal(found.negatives.doc_rows_RK, full.negatives.doc_rows_RK)
    assert found.negatives.scores_RK.tobytes() == full.negatives.scores_RK.tobytes()
    assert (found.negatives.ranks_RK == -1).all()


def test_the_report_speaks_of_the_whole_corpus(random_data):
    queries, corpus, positives = random_data
    rows_S = chosen_rows(np.arange(400)[None], positives.doc_rows_P, 400)
    policy = MiningConfig(num_negatives=2)
    report = mine_part(queries, corpus.take(rows_S), rows_S, positives, policy).report
    parts = np.array([report.excluded, report.above, report.below, report.allowed])
    assert report.documents == len(corpus)
    assert (parts.sum(axis=0) == len(rows_S)).all()
    assert set(report.unproposed) == {len(corpus) - len(rows_S)}
    for row in report.sample:
        assert row["positive_rows"] == positives.of(row["query_row"]).tolist()
        scores = corpus.vectors[row["rows"]] @ queries.vectors[row["query_row"]]
        assert scores == pytest.approx(row["scores"], abs=1e-6)


def test_the_previous_negatives_change_nothing(random_data):
    queries, corpus, positives = random_data
    policy = MiningConfig(num_negatives=3)
    rows_S = chosen_rows(candidates_of(*random_data, policy, 5), positives.doc_rows_P, 150)
    part = corpus.take(rows_S)
    turned = Embeddings(corpus.ids, np.roll(corpus.vectors, 1, axis=1))
    previous = mine(queries, turned, positives, policy).negatives
    cold = mine_part(queries, part, rows_S, positives, policy).negatives
    warm = mine_part(queries, part, rows_S, positives, policy, previous=previous).negatives
    assert np.array_equal(cold.doc_rows_RK, warm.doc_rows_RK)


def test_the_highest_places_are_chosen_first():
    lists_LC = np.array([[4, 5, 6], [4, 7, 8], [9, 7, -1]])
    # first places: 4 (twice) and 9; second: 7 (twice) and 5; third: 6 and 8
    order = [4, 9, 7, 5, 6, 8]
    for limit in range(len(order) + 3):
        assert chosen_rows(lists_LC, np.empty(0, int), limit).tolist() == sorted(order[:limit])
    assert chosen_rows(lists_LC, np.array([7, 1, 7]), 3).tolist() == [1, 4, 7]
    assert chosen_rows(lists_LC, np.array([3, 2, 1]), 2).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("policy", "says"),
    [({"rank_window": "raw"}, "rank_window=raw"), ({"sampling": "random"}, "sampling=random")],
)
def test_what_needs_every_score_is_refused(policy, says):
    with pytest.raises(ConfigError, match=says):
        check_for_part(MiningConfig(**policy))
