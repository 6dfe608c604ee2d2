"""TREC files: what trec_eval reads is what we scored, and a broken file says where it is broken."""

from __future__ import annotations

import gzip
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whet.errors import DataError
from whet.evaluation.trec import ranked, read_qrels, read_run, write_qrels, write_run

IDS = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=4)
SCORES = st.floats(-2, 2, width=32)


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        ({"a": 0.1, "b": 0.3, "c": 0.2}, ["b", "c", "a"]),
        ({"d10": 1.0, "d9": 1.0, "d1": 1.0}, ["d9", "d10", "d1"]),  # ties: doc id descending
        ({"z": 1.0, "é": 1.0, "😀": 1.0}, ["😀", "é", "z"]),  # by code point
        ({"a": 1.0, "b": 1.0 + 1e-12}, ["b", "a"]),  # equal as float32
        ({"a": 1.0 + 1e-12, "b": 1.0}, ["b", "a"]),
        ({"a": -0.5, "b": -0.25}, ["b", "a"]),
        ({}, []),
    ],
)
def test_ranking_rule(scores: dict[str, float], order: list[str]) -> None:
    assert list(ranked(scores)) == order


def test_run_file_to_the_letter(tmp_path: Path) -> None:
    third = float(np.float32(1 / 3))
    write_run(
        tmp_path / "run.trec", {"q2": {"d1": third, "d2": 0.5, "d3": third}, "q1": {"d1": -1}}
    )
    assert (tmp_path / "run.trec").read_text() == (
        "q2 Q0 d2 1 0.5 whet\nq2 Q0 d3 2 0.33333334 whet\nq2 Q0 d1 3 0.33333334 whet\n"
        "q1 Q0 d1 1 -1.0 whet\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.trec"]


@given(run=st.dictionaries(IDS, st.dictionaries(IDS, SCORES, min_size=1, max_size=6), max_size=4))
def test_run_round_trip(run: dict[str, dict[str, float]], tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("runs") / "run.trec.gz"
    write_run(path, run, tag="a_tag")
    again = read_run(path)
    assert again == run
    assert [list(docs) for docs in again.values()] == [list(ranked(docs)) for docs in run.values()]
    read_by_others = list(ir_measures.read_trec_run(str(path)))
    assert {(line.query_id, line.doc_id): np.float32(line.score) for line in read_by_others} == {
        (query, doc): np.float32(value)
        for query, docs in run.items()
        for doc, value in docs.items()
    }


def test_gzip_bytes_depend_on_content_alone(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        write_run(tmp_path / name, {"q": {"d": 1.0}})
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"q Q0 d 1 1.0 whet\n"


def test_qrels_round_trip_and_letter(tmp_path: Path) -> None:
    judgments = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": -1}}
    write_qrels(tmp_path / "qrels", judgments)
    assert (tmp_path / "qrels").read_text() == "q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 -1\n"
    assert read_qrels(tmp_path / "qrels") == judgments


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"q": {"": 1.0}}, r"an id is empty"),
        ({"q": {"a b": 1.0, "a%20b": 2.0}}, r"'a%20b' and 'a b' are both a%20b in a TREC file"),
        ({"a b": {"d": 1.0}, "a%20b": {"d": 1.0}}, r"'a b' and 'a%20b' are both a%20b"),
        ({"q": {"d": float("nan")}}, r"document 'd' for query 'q' is nan.*encode again"),
    ],
)
def test_what_a_run_file_cannot_hold_is_refused(run, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        write_run(tmp_path / "run", run)
    assert list(tmp_path.iterdir()) == []


def test_ids_with_white_space_are_percent_encoded(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"my q": {"50% off": 2.0, "50%": 1.0, "a\u2003b": 0.5}})
    write_qrels(tmp_path / "qrels", {"my q": {"50% off": 1}})
    assert list(read_run(tmp_path / "run")["my%20q"]) == ["50%25%20off", "50%", "a%E2%80%83b"]
    assert read_qrels(tmp_path / "qrels") == {"my%20q": {"50%25%20off": 1}}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, {"q": {"d": 1.0}})
    before = path.read_bytes()
    with pytest.raises(DataError):
        write_run(path, {"q": {"e": 2.0, "": 1.0}})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 d 1 0.5 t\n\nq Q0 e 2 0.4\n", r"run line 3: 5 columns where 6 belong"),
        ("q Q0 my doc 1 0.5 t\n", r"run line 1: 7 columns"),
        ("q Q0 d 1 high t\n", r"run line 1: score 'high' is not a number"),
        ("q Q0 d 1 nan t\n", r"run line 1: score 'nan' is not finite"),
        ("q Q0 d 1 2 t\nq Q0 d 2 1 t\n", r"run line 2: document 'd' is listed twice for query 'q'"),
    ],
)
def test_broken_run_says_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run").write_text(text)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q 0 d\n", r"qrels line 1: 3 columns where 4 belong"),
        ("q 0 d 0.5\n", r"qrels line 1: relevance '0.5' is not a whole number"),
        ("q 0 d 1_0\n", r"qrels line 1: relevance '1_0' is not a whole number"),
        ("q 0 d 1\nq 0 d 2\n", r"qrels line 2: document 'd' is listed twice"),
    ],
)
def test_broken_qrels_say_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text(text)
    with pytest.raises(DataError, match=message):
        read_qrels(tmp_path / "qrels")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b"q 0 d 1\n")[:-9])
    with pytest.raises(DataError, match=r"torn\.gz cannot be read"):
        read_qrels(tmp_path / "torn.gz")
    with pytest.raises(DataError, match=r"absent cannot be read"):
        read_run(tmp_path / "absent")
