"""The mining section, from a real mining report's dict."""

from __future__ import annotations

import json
import re

import pytest

from whet.mining.report import GAP_EDGES, RANK_EDGES
from whet.report.mining import view_mining, with_texts
from whet.report.words import duration, short

REPORT = {
    **{"queries": 3, "documents": 10, "rows": 2, "negatives": 5, "without_positives": 0},
    **{"query_rows": [0, 2], "excluded": [1, 2], "above": [3, 0], "below": [0, 0]},
    **{"unproposed": [0, 0], "allowed": [6, 8], "short": [0, 1], "dropped_rows": 0, "filled": 4},
    "rank_counts": [0, 3, 1, *[0] * (len(RANK_EDGES) - 2)],
    "gap_counts": [0, 0, 2, 3, *[0] * (len(GAP_EDGES) - 3)],
    "scores": {"positive": {"count": 2, "mean": 0.5, "median": 0.5, "std": 0.1, "min": 0.4}},
    **{
        "backend": "blas",
        "why": "small",
        "seconds": 61.0,
        "policy": {"max_score": None, "seed": 3},
    },
    "sample": [
        {
            **{"query_row": 2, "positive_rows": [1], "positive_score": 0.75},
            **{"rows": [4, 0], "scores": [0.5, 0.25], "ranks": [1, -1]},
        }
    ],
}


class Shelf:
    """Rows with an id and a text."""

    def __init__(self, name: str):
        self.name = name

    def id(self, row: int) -> str:
        return f"{self.name}{row}"

    def text(self, row: int) -> str:
        return f"text of {self.name}{row}"


def test_facts_and_fates_by_hand() -> None:
    view = view_mining(REPORT)
    assert dict(view.facts) == {
        **{"Negatives": "5", "Rows": "2", "Queries": "3", "Documents": "10"},
        **{"Rows that came back short": "1 of 2 (50.0 %)", "Filled": "4"},
        **{"Backend": "blas: small", "Time": "1 min 01 s"},
    }
    assert [(count, share) for _, count, share in view.fates] == [(3, 3 / 14), (3, 3 / 14), (14, 1)]
    assert view.policy == [("Seed", "3")]
    assert view.scores == []  # incomplete statistics are not shown


def test_histograms_show_the_bins_that_hold_something() -> None:
    ranks, gaps = view_mining(REPORT).charts
    assert re.findall(r"<title>([^<]*)</title></rect>", ranks) == ["1: 3", "2-4: 1"]
    assert "from 0" in ranks and "5 in all" in gaps
    minus = "\N{MINUS SIGN}"
    bins = re.findall(r"<title>([^<]*)</title></rect>", gaps)
    assert bins == [f"{minus}0.1: 2", f"{minus}0.05: 3"]


def test_samples_are_shown_when_they_have_texts() -> None:
    assert view_mining(REPORT).samples == []
    told = json.loads(json.dumps(with_texts(REPORT, Shelf("q"), Shelf("d"))))
    assert view_mining(told).samples == [
        (
            ("text of q2", "q2"),
            [("text of d1", "d1 · reference score 0.750")],
            [("text of d4", "d4 · rank 1 · score 0.500"), ("text of d0", "d0 · score 0.250")],
        )
    ]


@pytest.mark.parametrize("key", list(REPORT))
def test_any_part_may_be_missing(key: str) -> None:
    view_mining({name: value for name, value in REPORT.items() if name != key})
    assert view_mining({}).facts == []


def test_counts_of_other_bins_are_not_drawn() -> None:
    assert view_mining({"rank_counts": [1, 2, 3], "gap_counts": []}).charts == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (245, "4 min 05 s"), (7_620, "2 h 07 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_short_texts_end_at_a_word() -> None:
    assert short("word " * 10) == "word " * 10
    assert short("word " * 100) == "word " * 35 + "…"
    assert short("x" * 500) == "x" * 180 + " …"
