"""What `whet check` tells: counts, lengths, leaks, examples; and the real data sets load."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from whet.data.check import check_dataset
from whet.data.findings import Findings
from whet.data.load import load_dataset
from whet.errors import DataError
from whet.printable import printable_lines

REAL = Path(__file__).parents[2].parent / "shared" / "data"
BEIR_SETS = sorted(path.parent for path in REAL.glob("*/corpus.jsonl.gz"))


def test_the_whole_print_of_a_small_set(beir: Any) -> None:
    root = beir({"qrels/test.tsv": b"q2\td2\t1\nq1\td2\t0\n"})
    assert str(check_dataset(str(root))).splitlines() == [
        f"{root}: BEIR folder",
        "  documents          3   words: median 3, 90 % 4, 99 % 4, most 4",
        "  queries            2   words: median 4, 90 % 4, 99 % 4, most 4",
        "  split train      1 queries, 2 judgments (by grade 0: 1, 2: 1);"
        " 1.00 positives a query, at most 1",
        "  split test       2 queries, 2 judgments (by grade 0: 1, 1: 1);"
        " 0.50 positives a query, at most 1",
        "",
        "1 warning",
        "  split test: 'where do ants live'. Take it out of train: the score flatters.",
        "1 note",
        "  qrels/test.tsv: query 'q1' of split 'test'. It is not trained on and scores 0.",
        "",
        "examples of train",
        "  q1: 'where do ants live'",
        "    2 d1: 'Ants live in hills'",
        "    0 d3: 'cats sleep'",
        "",
        "examples of test",
        "  q1: 'where do ants live'",
        "    0 d2: 'bees make honey'",
        "  q2: 'who makes honey'",
        "    1 d2: 'bees make honey'",
    ]


def test_the_counts_leave_out_what_is_at_fault(beir: Any) -> None:
    check = check_dataset(str(beir({"corpus.jsonl": b'{"_id": "d1", "text": "a b"}\n{}\n'})))
    assert check.findings.problems == 4  # the row, two judgments of lost documents, an empty split
    assert check.corpus.rows == 1
    assert list(check.splits) == ["train"]


def test_repeated_texts_are_counted(beir: Any) -> None:
    rows = [
        b'{"_id": "d%d", "text": "%s"}\n' % (n, t) for n, t in enumerate([b"A b", b"a  B", b"c"], 1)
    ]
    assert check_dataset(str(beir({"corpus.jsonl": b"".join(rows)}))).corpus.repeats == 1


def test_the_same_query_under_another_id_is_a_leak(beir: Any) -> None:
    queries = (
        b'{"_id": "q1", "text": "Who  makes honey"}\n{"_id": "q2", "text": "who makes honey"}\n'
    )
    findings = check_dataset(str(beir({"queries.jsonl": queries}))).findings
    assert findings.count("query in train and in another split") == 1


def test_findings_count_exactly_and_show_five() -> None:
    findings = Findings()
    for line in range(1_239):
        findings.add("empty text", f"a.jsonl line {line}", "'text' is empty")
    told = findings.describe("empty text").splitlines()
    assert told[0].startswith("empty text (1,239): ")
    assert told[1:6] == [f"  a.jsonl line {line}: 'text' is empty" for line in range(5)]
    assert told[6:] == ["  and 1,234 more"]
    assert Findings.from_dict(findings.to_dict()) == findings


def rows_of(path: Path) -> int:
    with gzip.open(path) as lines:
        return sum(1 for _ in lines)


@pytest.mark.skipif(not BEIR_SETS, reason="the real data sets are not here")
@pytest.mark.parametrize("root", BEIR_SETS, ids=lambda path: path.name)
def test_real_data_loads_whole(root: Path) -> None:
    empty = {"cranfield": 2}.get(root.name, 0)  # two of its abstracts were never filled in
    data = load_dataset(str(root), on_problem="drop" if empty else "refuse")
    assert data.findings.count("empty text") == empty
    assert len(data.corpus) == rows_of(root / "corpus.jsonl.gz") - empty
    assert len(data.queries) == rows_of(root / "queries.jsonl.gz")
    assert set(data.splits) == {path.stem for path in (root / "qrels").glob("*.tsv")}


TRICK = "\x1b[2J\x9b31m\n\u202e"


def is_clean(text: str, lines: int) -> bool:
    return printable_lines(text) == text and text.count("\n") == lines


def test_names_of_splits_and_files_are_escaped(beir: Any) -> None:
    root = beir()
    before = str(check_dataset(str(root))).count("\n")
    (root / "qrels" / "test.tsv").rename(root / "qrels" / f"test{TRICK}.tsv")
    check = check_dataset(str(root))
    assert is_clean(str(check), before)
    name = "test\\x1b[2J\\x9b31m\\n\\u202e"
    assert f"split {name}" in str(check)
    assert len(check.dataset.split(name)) == 1
    with pytest.raises(DataError) as refused:
        check.dataset.split("none")
    assert is_clean(str(refused.value), 0)


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"set\xff")
    folder.mkdir()
    row = '{"query": "a", "positive": "b"}\n'
    for name in (b"train\xff.jsonl", b"test\xfe.jsonl"):
        (folder / os.fsdecode(name)).write_text(row)
    data = check_dataset(str(folder)).dataset
    assert (data.name, sorted(data.splits)) == ("set\\udcff", ["test\\udcfe", "train\\udcff"])
    assert data.digest and is_clean(str(check_dataset(str(folder))), 14)


def test_files_of_no_known_kind_are_escaped(tmp_path: Path) -> None:
    folder = tmp_path / f"set{TRICK}"
    folder.mkdir()
    (folder / f"x{TRICK}.bin").write_bytes(b"z")
    for path in (folder, folder / f"x{TRICK}.bin", folder / f"absent{TRICK}"):
        with pytest.raises(DataError) as refused:
            check_dataset(str(path))
        assert is_clean(str(refused.value), 0)


def test_a_finding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    rows = ['{"_id": "d\\n\\u001b[2J", "text": "a"}', '{"_id": "d1", "text": "a"}']
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "a"}\n')
    (tmp_path / "qrels" / f"test{TRICK}.tsv").write_text("q1\td9\t1\n")
    findings = check_dataset(str(tmp_path)).findings
    assert findings.problems == 3
    assert is_clean(str(findings), 3)
