"""The mining report: its numbers, its text, its JSON form, its rows to read; overlap@k."""

from __future__ import annotations

import json

import numpy as np
import pytest

from whet.config import MiningConfig
from whet.mining.miner import mine
from whet.mining.report import GAP_EDGES, RANK_EDGES, MiningReport, overlap
from whet.types import Negatives


def negatives(query_rows, docs):
    rows = np.array(docs, np.int64)
    scores = np.where(rows >= 0, np.float32(0.5), np.float32(np.nan))
    return Negatives(
        np.array(query_rows),
        rows,
        scores,
        np.full(rows.shape, -1, np.int64),
        np.full(len(rows), 0.75, np.float32),
    )


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (([0], [[1, 2]]), ([0], [[2, 1]]), 1.0),
        (([0], [[1, 2]]), ([0], [[2, 3]]), 0.5),
        (([0], [[1, 2, 3, 4]]), ([0], [[1, -1]]), 0.25),
        # rows are aligned by query: only queries 0 and 2 are in both
        (([0, 1, 2], [[1], [2], [3]]), ([2, 0, 5], [[3], [9], [2]]), 0.5),
        # several rows of a query are one set
        (([0, 0], [[1], [2]]), ([0], [[1, 2]]), 1.0),
        (([0], [[1]]), ([4], [[1]]), float("nan")),
        (([0], [[-1]]), ([0], [[-1]]), float("nan")),
    ],
)
def test_overlap(before, now, expected):
    assert overlap(negatives(*before), negatives(*now)) == pytest.approx(expected, nan_ok=True)


def test_numbers_equal_a_count_by_hand(random_data):
    mined = mine(*random_data, MiningConfig(num_negatives=4, range_min=2))
    report, found = mined.report, mined.negatives
    valid = found.doc_rows_RK >= 0
    ranks = found.ranks_RK[valid].tolist()
    gaps = (found.positive_scores_R[:, None].astype(float) - found.scores_RK)[valid]
    gaps = gaps[~np.isnan(gaps)]
    for i, low in enumerate(RANK_EDGES):
        high = RANK_EDGES[i + 1] if i + 1 < len(RANK_EDGES) else 10**9
        assert report.rank_counts[i] == sum(low <= rank < high for rank in ranks)
    assert report.rank_counts[-1] == 0
    assert report.gap_counts[0] == (gaps < GAP_EDGES[0]).sum()
    assert sum(report.gap_counts) == len(gaps)
    assert report.scores["difference"]["mean"] == pytest.approx(gaps.mean())
    assert report.scores["negative"]["count"] == valid.sum() == report.negatives
    assert report.scores["negative"]["max"] == pytest.approx(np.nanmax(found.scores_RK))
    assert report.scores["positive"]["min"] == pytest.approx(np.nanmin(found.positive_scores_R))
    assert report.policy["range_min"] == 2


def test_json_and_back(random_data):
    report = mine(*random_data, MiningConfig(num_negatives=2)).report
    assert MiningReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_text_tells_short_rows_reasons_and_backend(random_data):
    policy = MiningConfig(num_negatives=3, min_score=0.25, backend="blas")
    report = mine(*random_data, policy).report
    text = str(report)
    assert "for 40 queries over 500 documents" in text
    assert "Backend blas: asked for." in text
    assert f"Short rows {report.short_rows:,} of 40" in text
    assert "below" in text
    assert "Metric        Positive    Negative  Difference" in text
    assert "1 queries without positives" in text


def test_no_negative_at_all_still_reports(random_data):
    report = mine(*random_data, MiningConfig(max_score=-9.0)).report
    assert report.negatives == 0
    assert report.scores["negative"]["mean"] is None
    assert "Mined 0 negatives" in str(report)


def test_sampled_rows_read_like_search_results(random_data, make_table):
    queries, corpus, _ = random_data
    # a table with more queries, in another order: rows are found by id
    table = make_table("queries", ["other", *queries.ids[::-1]])
    docs = make_table("corpus", corpus.ids)
    report = mine(*random_data, MiningConfig(num_negatives=2)).report
    text = report.sample_rows(table, docs, 5)
    assert len(text.split("\n\n")) == 5
    row = report.sample[0]
    assert f"[{row['query_id']}] text of {row['query_id']}" in text
    positive = corpus.ids[row["positive_rows"][0]] if row["positive_rows"] else ""
    assert f"text of {positive}" in text
    assert f"rank {row['ranks'][0]}" in text
