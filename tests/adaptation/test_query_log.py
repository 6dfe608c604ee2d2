"""A log of queries: what is read of it, what is left out, and which lines are refused."""

import gzip
import json

import pytest

from whet.adaptation.log import log_of, read_log
from whet.errors import DataError
from whet.feedback.events.query_file import read_queries

ASKED = ["how does a pump leak", "where is the oil valve", "why does it stop"]


def csv_of(queries):
    return "id,Query\n" + "".join(f'{number},"{text}"\n' for number, text in enumerate(queries))


def jsonl_of(queries):
    return "".join(json.dumps({"query": text}) + "\n" for text in queries)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.txt", "\n".join(ASKED)),
        ("log.txt", "\ufeff" + "\r\n".join(ASKED) + "\r\n\r\n"),
        ("log.csv", csv_of(ASKED)),
        ("log.tsv", csv_of(ASKED).replace(",", "\t")),
        ("log.jsonl", jsonl_of(ASKED)),
        ("log.jsonl", "\n".join(map(json.dumps, ASKED)) + "\n\n"),
        ("log", "\n".join(ASKED)),
    ],
)
def test_every_format_holds_the_same_queries(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    assert read_queries(str(path)) == ASKED
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_queries(str(packed)) == ASKED


def test_a_query_may_go_over_lines_in_csv(tmp_path):
    (tmp_path / "log.csv").write_text('query\n"how does\na pump leak"\n')
    assert read_log(str(tmp_path / "log.csv")).queries == [ASKED[0]]


# without the time of today: it is in the test's name, and processes must agree on that
TORN = gzip.compress(b"how does a pump leak\n", mtime=0)[:-9]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("log.txt", b"fine words here\nbad \xff byte here\n", "line 2: byte 5 is no UTF-8"),
        ("log.txt", b"fine words\nwith a nul \0 in it\n", "line 2: text with NUL"),
        ("log.jsonl", b'"fine words"\n{"query": "torn\n', "line 2: no JSON"),
        ("log.jsonl", b'{"words": "no such field"}\n', "line 1: has none of the fields query"),
        ("log.jsonl", b'{"query": 7}\n', "line 1: text that is not a string"),
        ("log.csv", b"id,words\n1,how\n", "line 1: has no column named query"),
        ("log.csv", b"id,query\n1,fine\n2\n", "line 3: has no column 2"),
        ("log.txt", b"\n \n", "holds no query"),
        ("log.csv", b"query\n", "holds no query"),
        ("log.txt.gz", TORN, "cannot be read to its end"),
    ],
)
def test_a_bad_line_is_refused_by_file_and_line(tmp_path, name, content, told):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_log(str(path))
    assert str(path) in str(error.value) and told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_log_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no file"):
        read_log(str(tmp_path / "none.txt"))


def test_a_log_has_each_query_once_and_of_a_fitting_length():
    texts = ["Why does  it stop", "why does it STOP", "pump", "two words", "word " * 33, "a b c"]
    log = log_of(texts)
    assert log.queries == ["Why does it stop", "a b c"]
    assert sum(log.left_out.values()) == 4 and log.left_out["asked before"] == 1
    assert log.digest == log_of(["Why does it stop", "a b c"]).digest


def test_a_long_log_is_drawn_from_by_seed():
    texts = [f"query number {number}" for number in range(12_000)]
    log = log_of(texts, seed=3)
    assert len(log) == 10_000 and log == log_of(texts, seed=3) != log_of(texts, seed=4)
    assert [*log.queries] == sorted(log.queries, key=texts.index)
