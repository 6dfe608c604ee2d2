"""Rows, tables and judgments of a program become files, and are read as any others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whet
from whet.errors import DataError
from whet.verbs.program_data import data_path

ROWS = [
    {"query": "set a key", "positive": "Changing the key", "negative": "A paper jam"},
    {"query": "paper stuck", "positive": "A paper jam", "negative": None},
]
CORPUS = {"d1": "Changing the key", "d2": {"title": "Paper", "text": "A paper jam"}}
QUERIES = {"q1": "set a key", "q2": "paper stuck"}
QRELS = {"q1": {"d1": 1}, "q2": {"d2": 2, "d1": 0}}


def _pairs(data: Any, split: str = "train") -> set[tuple[str, str, int]]:
    qrels = data.split(split)
    rows = zip(qrels.query_rows_M, qrels.doc_rows_M, qrels.relevance_M, strict=True)
    return {(data.queries.text(q), data.corpus.text(d), int(grade)) for q, d, grade in rows}


JUDGED = {
    ("set a key", "Changing the key", 1),
    ("set a key", "A paper jam", 0),
    ("paper stuck", "A paper jam", 1),
}


def test_rows_are_read_as_a_file_of_them_is(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    data = whet.load_dataset(ROWS)
    assert _pairs(data) == JUDGED
    assert data.digest == whet.load_dataset(str(file)).digest
    assert whet.load_dataset(iter(ROWS)).path == data.path  # the same content, the same place
    assert whet.load_dataset(ROWS[:1]).path != data.path
    assert whet.load_dataset(data).path == data.path
    assert whet.load_dataset(file).path == str(file)


def test_a_table_of_pandas_is_rows() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(ROWS)
    assert _pairs(whet.load_dataset(table)) == JUDGED
    table["label"] = np.array([1, 2], np.int64)
    assert ("paper stuck", "A paper jam", 2) in _pairs(whet.load_dataset(table))
    table.loc[2] = ["third", "An answer", float("nan"), 1]
    assert ("third", "An answer", 1) in _pairs(whet.load_dataset(table))


def test_a_dataset_of_hugging_face_is_rows() -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    assert _pairs(whet.load_dataset(rows)) == JUDGED
    both = datasets.DatasetDict({"train": rows, "test": rows.select([1])})
    data = whet.load_dataset(both)
    assert _pairs(data) == JUDGED
    assert _pairs(data, "test") == {("paper stuck", "A paper jam", 1)}
    assert whet.load_dataset({"train": ROWS, "test": ROWS[1:]}).path == data.path


def test_judgments_by_id_keep_their_ids() -> None:
    data = whet.load_dataset((CORPUS, QUERIES, QRELS))
    assert list(data.corpus.ids) == ["d1", "d2"] and list(data.queries.ids) == ["q1", "q2"]
    assert _pairs(data) == {
        ("set a key", "Changing the key", 1),
        ("paper stuck", "Paper A paper jam", 2),
        ("paper stuck", "Changing the key", 0),
    }
    split = {"train": QRELS, "test": {"q1": {"d2": np.int64(1)}}}
    data = whet.load_dataset((CORPUS, QUERIES, split))
    assert set(data.splits) == {"train", "test"} and len(data.split("test")) == 1
    listed = [{"_id": "d1", "text": "Changing the key"}, {"_id": "d2", "text": "A paper jam"}]
    assert len(whet.load_dataset((listed, QUERIES, QRELS)).corpus) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "train has no rows"),
        ({}, "data is an empty dict"),
        (3, "train is of type int. Give a path, rows"),
        (None, "train is of type NoneType. Give a path, rows"),
        ([("q", "p")], "row 0 of train is of type tuple, and rows are dicts"),
        ([ROWS[0], "text"], "row 1 of train is of type str"),
        ({"train": "rows"}, "train is of type str"),
        ({"../train": ROWS}, "is no name of a split"),
        ([{"query": {1, 2}, "positive": "x"}], "holds what no JSON can"),
        ((CORPUS, QUERIES, {}), "qrels are a dict, or empty"),
        (({}, QUERIES, QRELS), "corpus is empty"),
        ((CORPUS, QUERIES, {"q1": ["d1"]}), "the judgments of query q1 are a list"),
    ],
)
def test_what_is_no_data_is_refused_in_a_line(data: Any, message: str) -> None:
    with pytest.raises(DataError) as refused:
        data_path(data)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_bad_row_is_named_by_its_place() -> None:
    with pytest.raises(DataError, match=r"train.jsonl line 2"):
        whet.load_dataset([ROWS[0], {"query": "", "positive": "x"}])
    checked = whet.check(ROWS)
    assert checked.splits["train"].judgments == 3
    assert repr(checked) == str(checked)


def test_a_model_is_judged_and_mined_with_on_rows(tiny_model: Path) -> None:
    words = "baba cedi fogu kale mino pura seti vozu".split()
    rows = [{"query": word, "positive": f"{word} {word} ba"} for word in words]
    model = str(tiny_model)
    result = whet.evaluate(model, rows, measures=["RR@10"])
    assert 0 < result.scores.means["RR@10"] <= 1
    assert repr(result).splitlines()[-1] == "on 8 queries"
    mined = whet.mine(rows, model=model, num_negatives=2, relative_margin=None)
    assert len(mined.negatives) == 8
    assert repr(mined).startswith("Mined 16 negatives in 8 rows")
