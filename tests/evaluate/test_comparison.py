"""Base against tuned: rows, verdict, table, per-query file and examples."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest

from whet.errors import ConfigError, DataError
from whet.evaluation.comparison import compare, write_per_query
from whet.evaluation.examples import TEXT_LIMIT, changed_queries
from whet.evaluation.judge import Evaluation
from whet.evaluation.measures import Scores, score
from whet.types import Picture


def scores(**per_query: list[float]) -> Scores:
    """`scores(RR=[...])`: values of q0, q1, ... under RR@10 and so on."""
    named = {"RR": "RR@10", "nDCG": "nDCG@10", "R": "R@100"}
    table = {
        named[name]: {f"q{i}": value for i, value in enumerate(values)}
        for name, values in per_query.items()
    }
    return Scores({name: float(np.mean(list(v.values()))) for name, v in table.items()}, table)


def test_rows_by_hand() -> None:
    base = scores(nDCG=[0.2, 0.5, 1.0, 0.0], RR=[0.5, 0.5, 1.0, 0.0])
    tuned = scores(nDCG=[0.6, 0.5, 0.8, 0.4], RR=[1.0, 0.5, 1.0, 1.0])
    found = compare(base, tuned, "nDCG@10")
    main = found.main
    assert (main.wins, main.ties, main.losses) == (2, 1, 1)
    assert main.base == pytest.approx(0.425)
    assert main.difference == pytest.approx(0.15)
    # +.4, -.2, +.4 with all 8 sign patterns: |sum| is 1 twice, .6 twice, .2 four times
    assert main.p_value == pytest.approx(4 / 8)
    assert main.low <= main.difference <= main.high
    assert found.right_first == (0.25, 0.75)
    assert found.queries == 4


def test_alias_names_the_main_measure() -> None:
    one = scores(RR=[0.5, 1.0])
    assert compare(one, one, "MRR@10").main_measure == "RR@10"


def test_same_system_changes_nothing() -> None:
    one = scores(nDCG=[0.5] * 30)
    found = compare(one, one, "nDCG@10")
    assert (found.main.p_value, found.main.t_test_p_value, found.main.ties) == (1.0, 1.0, 30)
    assert found.verdict() == "nDCG@10 is 0.500, was 0.500. No query changed."


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            [0.0] * 47 + [1.0] * 53,
            [1.0] * 40 + [0.0] * 7 + [1.0] * 53,
            "Finds a right document first for 93 % of queries, was 53 %; "
            "RR@10 is 0.930, was 0.530. "
            "That is better, and more than chance (p < 0.001; 40 of 100 queries won, 0 lost).",
        ),
        (
            [1.0] * 20,
            [0.5] * 20,
            "Finds a right document first for 0 % of queries, was 100 %; "
            "RR@10 is 0.500, was 1.000. "
            "That is worse, and more than chance (p < 0.001; 0 of 20 queries won, 20 lost).",
        ),
        (
            [1.0, 0.5, 0.2],
            [0.5, 1.0, 0.5],
            "Finds a right document first for 33 % of queries, was 33 %; "
            "RR@10 is 0.667, was 0.567. "
            "The change may be chance (p = 1.00; 2 of 3 queries won, 1 lost).",
        ),
    ],
)
def test_verdict_is_honest(before: list[float], after: list[float], sentence: str) -> None:
    found = compare(scores(RR=before), scores(RR=after), "RR@10")
    if "p = 1.00" in sentence:
        sentence = sentence.replace("p = 1.00", f"p = {found.main.p_value:.2f}")
        assert found.main.p_value > 0.5
    assert found.verdict() == sentence


def test_table_for_the_terminal() -> None:
    base, tuned = scores(nDCG=[0.2] * 20, R=[1.0] * 20), scores(nDCG=[0.7] * 20, R=[1.0] * 20)
    lines = str(compare(base, tuned, "nDCG@10")).split("\n")
    head = "measure base tuned change 95 % interval p won same lost"
    assert " ".join(lines[0].split()) == head
    assert lines[1].split() == [
        *["nDCG@10", "0.2000", "0.7000", "+0.5000"],
        *["+0.5000", "to", "+0.5000", "<0.001", "20", "0", "0"],
    ]
    assert lines[2].split()[-4:] == ["1.000", "0", "20", "0"]
    assert len({len(line) for line in lines[:3]}) == 1  # columns line up
    assert lines[3].startswith("nDCG@10 is 0.700, was 0.200.")


def test_dict_survives_json() -> None:
    found = compare(scores(RR=[0.5, 1.0]), scores(RR=[1.0, 1.0]), "RR@10")
    again = json.loads(json.dumps(found.to_dict()))
    assert again["rows"][0]["measure"] == again["main_measure"] == "RR@10"
    assert again["right_first"] == [0.5, 1.0]
    assert again["verdict"] == found.verdict()


def test_what_cannot_be_compared() -> None:
    with pytest.raises(DataError, match=r"same queries.*3 and 2.*1 are in one only.*q2"):
        compare(scores(RR=[1.0, 1.0, 1.0]), scores(RR=[1.0, 1.0]), "RR@10")
    with pytest.raises(DataError, match=r"same evaluate\.measures"):
        compare(scores(RR=[1.0]), scores(nDCG=[1.0]), "RR@10")
    with pytest.raises(ConfigError, match=r"R@100 was not scored, only RR@10"):
        compare(scores(RR=[1.0]), scores(RR=[1.0]), "Recall@100")


def test_per_query_file(tmp_path: Path) -> None:
    base, tuned = scores(RR=[0.5, 1.0], nDCG=[0.1, 0.2]), scores(RR=[1.0, 1.0], nDCG=[0.3, 0.4])
    write_per_query(tmp_path / "per_query.jsonl", base, tuned)
    lines = [json.loads(line) for line in (tmp_path / "per_query.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "query_id": "q0",
        "base": {"RR@10": 0.5, "nDCG@10": 0.1},
        "tuned": {"RR@10": 1.0, "nDCG@10": 0.3},
    }
    assert [line["query_id"] for line in lines] == ["q0", "q1"]


class Shelf:
    """A table of texts by id, the two methods that examples need of the real one."""

    def __init__(self, texts: dict[str, str]):
        self.ids, self.all = list(texts), list(texts.values())

    def rows_of(self, ids):
        return np.array([self.ids.index(one) if one in self.ids else -1 for one in ids], np.int64)

    def items(self, rows):
        return [self.all[int(row)] for row in rows]


QUERIES = Shelf({f"q{i}": f"query {i}" for i in range(5)})
CORPUS = Shelf({"a": "text a", "b": "text b", "c": "c" * 9_000, "d": "text d"})
JUDGMENTS = {**{f"q{i}": {"a": 1} for i in range(5)}, "q1": {"a": 1, "b": 2, "c": 0}}


def evaluated(orders: list[str]) -> Evaluation:
    run = {
        f"q{i}": {doc: 1.0 - place / 8 for place, doc in enumerate(order)}
        for i, order in enumerate(orders)
    }
    return Evaluation(run, score(run, JUDGMENTS, ["RR@10"]))


#                    q0: .5 to 1   q1: 1/3 to 1      q2: same      q3: 1 to .5   q4: 1 to 0
BEFORE = evaluated(["ba", "cda", "ab", "ab", "ab"])
AFTER = evaluated(["ab", "bca", "ab", "ba", "bd"])


def examples(**options) -> dict:
    return changed_queries(
        BEFORE, AFTER, JUDGMENTS, queries=QUERIES, corpus=CORPUS, measure="RR@10", **options
    )


def test_examples_are_sorted_by_difference_and_leave_ties_out() -> None:
    found = examples()
    assert [one["query_id"] for one in found["won"]] == ["q1", "q0"]
    assert [one["query_id"] for one in found["lost"]] == ["q4", "q3"]
    assert [one["difference"] for one in found["lost"]] == [-1.0, -0.5]
    assert [len(side) for side in examples(count=1).values()] == [1, 1]
    json.dumps(found)


def test_an_example_shows_what_a_person_needs() -> None:
    one = examples(top=2)["won"][0]
    assert one["query"] == "query 1"
    assert one["base"] == pytest.approx(1 / 3)
    assert one["tuned"] == 1.0
    assert [
        (doc["id"], doc["relevance"], doc["rank_base"], doc["rank_tuned"])
        for doc in one["relevant"]
    ] == [("b", 2, None, 1), ("a", 1, 3, 3)]
    assert one["relevant_total"] == 2
    assert [(doc["rank"], doc["id"], doc["relevant"]) for doc in one["after"]] == [
        (1, "b", True),
        (2, "c", False),
    ]
    assert [doc["id"] for doc in one["before"]] == ["c", "d"]
    assert len(one["before"][0]["text"]) == TEXT_LIMIT
    assert one["before"][0]["text"].endswith("c…")


def test_an_example_shows_small_pictures():
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (400, 200), (255, 0, 0)).save(file, "PNG")
    pictures = Shelf({name: Picture(file.getvalue(), f"the {name}") for name in "abcd"})
    shown = changed_queries(
        BEFORE, AFTER, JUDGMENTS, queries=QUERIES, corpus=pictures, measure="RR@10"
    )
    document = shown["won"][0]["after"][0]
    address = document["picture"]
    assert document["text"] == f"the {document['id']}" and "picture" not in shown["won"][0]
    assert address.startswith("data:image/jpeg;base64,")
    small = image.open(io.BytesIO(b64decode(address.partition(",")[2])))
    assert small.size == (96, 48)
