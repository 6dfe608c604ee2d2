"""Rescoring by a cross-encoder: its scores replace s and s+ before the filters."""

from __future__ import annotations

import numpy as np
import pytest

from whet.config import MiningConfig
from whet.errors import ConfigError, MiningError
from whet.mining.crossencoder import CrossEncoder, mining_rescorer
from whet.mining.miner import mine


@pytest.fixture(scope="module", params=[1, 2])
def cross_encoder(request, tiny_model, tmp_path_factory):
    """A random BERT classifier with one or two outputs."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cross") / "model"
    config = AutoConfig.from_pretrained(tiny_model, num_labels=request.param)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def table_of_scores(seed):
    """Made-up scores of all 40 x 500 pairs, and a rescorer that looks them up."""
    scores_QN = np.random.default_rng(seed).random((40, 500)).astype(np.float32)
    return scores_QN, lambda query_M, doc_M: scores_QN[query_M, doc_M]


def test_new_scores_filter_and_order_the_proposals(random_data):
    scores_QN, rescore = table_of_scores(0)
    policy = MiningConfig(num_negatives=3, range_max=50, relative_margin=0.1, min_score=0.1)
    plain = MiningConfig(num_negatives=50, relative_margin=None)
    proposed = mine(*random_data, plain).negatives
    mined = mine(*random_data, policy, rescore=rescore)
    positives = random_data[2]
    for q in range(40):
        least = scores_QN[q, positives.of(q)].min(initial=np.inf)
        ceiling = np.float32(least.astype(np.float64) * 0.9)
        candidates = proposed.doc_rows_RK[q]
        kept = [
            (-scores_QN[q, doc], doc, rank)
            for doc, rank in zip(candidates.tolist(), proposed.ranks_RK[q].tolist(), strict=True)
            if np.float32(0.1) <= scores_QN[q, doc] <= ceiling
        ]
        best = sorted(kept)[:3]
        found = mined.negatives.doc_rows_RK[q] >= 0
        assert mined.negatives.doc_rows_RK[q, found].tolist() == [doc for _, doc, _ in best]
        assert mined.negatives.ranks_RK[q, found].tolist() == [rank for *_, rank in best]
        assert mined.negatives.scores_RK[q, found].tolist() == [-score for score, *_ in best]
    report = mined.report
    parts = (report.excluded, report.above, report.below, report.unproposed, report.allowed)
    assert (np.sum(parts, axis=0) == 500).all()
    assert (np.array(report.unproposed) + report.excluded == 450).all()


def test_random_draws_only_from_what_was_proposed(random_data):
    _, rescore = table_of_scores(1)
    policy = MiningConfig(num_negatives=5, sampling="random", relative_margin=None)
    mined = mine(*random_data, policy, rescore=rescore)
    ranks = mined.negatives.ranks_RK
    assert (ranks >= 0).all()
    assert ranks.max() <= 105  # 100 proposals, and the excluded before them
    assert ranks.max() > 20


def test_fillers_are_rescored(random_data):
    scores_QN, rescore = table_of_scores(2)
    policy = MiningConfig(num_negatives=3, min_score=0.99, on_short="random")
    mined = mine(*random_data, policy, rescore=rescore).negatives
    rows = np.arange(40)[:, None]
    assert np.array_equal(mined.scores_RK, scores_QN[rows, mined.doc_rows_RK])


def test_bad_scores_are_refused(random_data):
    with pytest.raises(MiningError, match="the cross-encoder gave nan for query row"):
        mine(*random_data, MiningConfig(), rescore=lambda q, d: np.full(len(q), np.nan))
    with pytest.raises(MiningError, match=r"gave scores \(1,\) for"):
        mine(*random_data, MiningConfig(), rescore=lambda q, d: np.zeros(1))


def test_a_hugging_face_classifier_scores_like_sentence_transformers(cross_encoder):
    from sentence_transformers import CrossEncoder as Theirs

    queries = ["bace difo", "guka", "lemi nopu rase " * 9, ""]
    documents = ["tivo zu", "bace " * 40, "x", "difo"]
    ours = CrossEncoder(str(cross_encoder)).scores(queries, documents)
    theirs = Theirs(str(cross_encoder)).predict(list(zip(queries, documents, strict=True)))
    if theirs.ndim == 2:  # two logits: the probability of the second
        theirs = np.exp(theirs[:, 1]) / np.exp(theirs).sum(1)
    assert ours.dtype == np.float32
    assert np.allclose(ours, theirs, atol=1e-5)


def test_mined_from_texts_by_row_of_the_table(cross_encoder, random_data, make_table):
    queries, corpus, positives = random_data
    rows = np.array([12, 3])
    tables = make_table("queries", queries.ids), make_table("corpus", corpus.ids)
    policy = MiningConfig(num_negatives=2, range_max=8, cross_encoder=str(cross_encoder))
    rescore = mining_rescorer(policy, *tables, rows)
    mined = mine(queries.take(rows), corpus, positives.take(rows), policy, rescore=rescore)
    model = CrossEncoder(str(cross_encoder))
    for r, query in enumerate(rows):
        for doc, score in zip(
            mined.negatives.doc_rows_RK[r], mined.negatives.scores_RK[r], strict=True
        ):
            if doc >= 0:
                alone = model.scores([f"text of q{query}"], [f"text of d{doc}"])
                assert score == pytest.approx(float(alone[0]), abs=1e-5)


def test_no_cross_encoder_no_rescorer(make_table):
    table = make_table("any", ["a"])
    assert mining_rescorer(MiningConfig(), table, table, np.array([0])) is None


def test_what_is_no_cross_encoder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be loaded"):
        CrossEncoder(str(tmp_path / "nothing"))
