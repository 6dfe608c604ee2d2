"""Every kind of broken input: the exact message, and what is left with on_problem=drop."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import pytest

from whet.data.load import load_dataset
from whet.errors import ConfigError, DataError, EnvironmentRefused

D1 = b'{"_id": "d1", "text": "ants"}\n'
D2 = b'{"_id": "d2", "text": "bees"}\n'
D3 = b'{"_id": "d3", "text": "cats"}\n'
HEAD = b"query-id\tcorpus-id\tscore\n"
OR_DROP = "or pass data.on_problem=drop."
GIVE_AN_ID = f"Give the row an id of printable text, no blank at its ends, {OR_DROP}"

# file -> content, message, documents left and judgments left in all splits after dropping
CASES: dict[str, tuple[str, bytes, str, int, int]] = {
    "duplicate document": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d1", "text": "other"}\n',
        "corpus.jsonl line 4: id 'd1' was used before, in corpus.jsonl line 1."
        " Give each row its own id, or pass data.on_problem=drop to keep the first.",
        3,
        3,
    ),
    "duplicate query": (
        "queries.jsonl",
        b'{"_id": "q1", "text": "a"}\n{"_id": "q2", "text": "b"}\n{"_id": "q2", "text": "b"}\n',
        "queries.jsonl line 3: id 'q2' was used before, in queries.jsonl line 2."
        " Give each row its own id, or pass data.on_problem=drop to keep the first.",
        3,
        3,
    ),
    "unknown document": (
        "qrels/test.tsv",
        HEAD + b"q2\td2\t1\nq2\td9\t1\n",
        "qrels/test.tsv line 3: doc 'd9' is not in corpus.jsonl (3 docs)."
        " Fix the id, or pass data.on_problem=drop.",
        3,
        3,
    ),
    "unknown query": (
        "qrels/test.tsv",
        HEAD + b"q2\td2\t1\nq9\td2\t1\n",
        "qrels/test.tsv line 3: query 'q9' is not in queries.jsonl (2 queries)."
        " Fix the id, or pass data.on_problem=drop.",
        3,
        3,
    ),
    "empty text": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4", "text": ""}\n',
        f"corpus.jsonl line 4: 'text' is empty. Fill the text in or take the row out, {OR_DROP}",
        3,
        3,
    ),
    "whitespace text": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4", "text": " \\t\\u00a0"}\n',
        f"corpus.jsonl line 4: 'text' is empty. Fill the text in or take the row out, {OR_DROP}",
        3,
        3,
    ),
    "number as text": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4", "text": 7}\n',
        f"corpus.jsonl line 4: 'text' is 7. Write the text as a string, {OR_DROP}",
        3,
        3,
    ),
    "list as title": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4", "title": ["a"], "text": "b"}\n',
        f"corpus.jsonl line 4: 'title' is ['a']. Write the text as a string, {OR_DROP}",
        3,
        3,
    ),
    "NUL": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4", "text": "a\\u0000b"}\n',
        "corpus.jsonl line 4: 'text' holds a NUL or half a surrogate pair: 'a\\x00b'."
        f" Take the character out, {OR_DROP}",
        3,
        3,
    ),
    "lone surrogate": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4", "text": "a\\ud800"}\n',
        "corpus.jsonl line 4: 'text' holds a NUL or half a surrogate pair: 'a\\ud800'."
        f" Take the character out, {OR_DROP}",
        3,
        3,
    ),
    "bad UTF-8": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4", "text": "caf\xe9"}\n',
        'corpus.jsonl line 4: byte 27 is 0xe9, in b\'ext": "caf\\xe9"}\\n\'.'
        f" Save the file as UTF-8, {OR_DROP}",
        3,
        3,
    ),
    "bad JSON": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4" "text": "x"}\n',
        "corpus.jsonl line 4: column 14: Expecting ',' delimiter, near '\"text\": \"x\"}'."
        f" Write one JSON object a line, {OR_DROP}",
        3,
        3,
    ),
    "JSON after JSON": (
        "corpus.jsonl",
        D1 + D2 + D3 + b"{} {}\n",
        "corpus.jsonl line 4: column 4: Extra data, near '{}'."
        f" Write one JSON object a line, {OR_DROP}",
        3,
        3,
    ),
    "JSON that is no object": (
        "corpus.jsonl",
        D1 + D2 + D3 + b"[1, 2]\n",
        f"corpus.jsonl line 4: not an object but [1, 2]. Write one JSON object a line, {OR_DROP}",
        3,
        3,
    ),
    "deep JSON": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"a": ' + b"[" * 100_000 + b"\n",
        "corpus.jsonl line 4: maximum recursion depth exceeded while decoding a JSON array from a"
        f" unicode string. Write one JSON object a line, {OR_DROP}",
        3,
        3,
    ),
    "number of 5,000 digits": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": ' + b"1" * 5_000 + b"}\n",
        "corpus.jsonl line 4: Exceeds the limit (4300 digits) for integer string conversion:"
        f" value has 5000 digits. Write one JSON object a line, {OR_DROP}",
        3,
        3,
    ),
    "missing text": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4", "body": "x"}\n',
        f"corpus.jsonl line 4: no 'text', only ['_id', 'body']. Add the field, {OR_DROP}",
        3,
        3,
    ),
    "missing id": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"text": "x"}\n',
        f"corpus.jsonl line 4: no '_id', only ['text']. Add the field, {OR_DROP}",
        3,
        3,
    ),
    "id with a tab": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d\\t4", "text": "x"}\n',
        f"corpus.jsonl line 4: id 'd\\t4'. {GIVE_AN_ID}",
        3,
        3,
    ),
    "id with an escape sequence": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4\\u001b[2J", "text": "x"}\n',
        f"corpus.jsonl line 4: id 'd4\\x1b[2J'. {GIVE_AN_ID}",
        3,
        3,
    ),
    "id with a right-to-left mark": (
        "queries.jsonl",
        b'{"_id": "q1", "text": "a"}\n{"_id": "q2", "text": "b"}\n'
        b'{"_id": "q\xe2\x80\x8f3", "text": "c"}\n',
        f"queries.jsonl line 3: id 'q\\u200f3'. {GIVE_AN_ID}",
        3,
        3,
    ),
    "id that ends in a no-break space": (
        "corpus.jsonl",
        D1 + D2 + D3 + b'{"_id": "d4\\u00a0", "text": "x"}\n',
        f"corpus.jsonl line 4: id 'd4\\xa0'. {GIVE_AN_ID}",
        3,
        3,
    ),
    "judgment of an id that ends in a no-break space": (
        "qrels/test.tsv",
        HEAD + b"q2\td2\t1\nq2\td2\xc2\xa0\t1\n",
        "qrels/test.tsv line 3: the ids 'q2', 'd2\\xa0' are not both usable."
        f" Write query id, document id and a whole number, {OR_DROP}",
        3,
        3,
    ),
    "relevance with an underscore": (
        "qrels/test.tsv",
        HEAD + b"q2\td2\t1\nq2\td1\t1_0\n",
        "qrels/test.tsv line 3: relevance '1_0' is not a whole number."
        f" Write a whole number, 0 for not relevant, {OR_DROP}",
        3,
        3,
    ),
    "relevance in other digits": (
        "qrels/test.tsv",
        HEAD + "q2\td2\t1\nq2\td1\t\uff11\n".encode(),
        "qrels/test.tsv line 3: relevance '\uff11' is not a whole number."
        f" Write a whole number, 0 for not relevant, {OR_DROP}",
        3,
        3,
    ),
    "long line": (
        "corpus.jsonl",
        D1 + b'{"_id": "d4", "text": "' + b"x" * (16 << 20) + b'"}\n' + D2 + D3,
        f"corpus.jsonl line 2: over 16 MiB. Put one row on one line of at most 16 MiB, {OR_DROP}",
        3,
        3,
    ),
    "relevance of one half": (
        "qrels/test.tsv",
        HEAD + b"q2\td2\t1\nq2\td1\t0.5\n",
        "qrels/test.tsv line 3: relevance '0.5' is not a whole number."
        f" Write a whole number, 0 for not relevant, {OR_DROP}",
        3,
        3,
    ),
    "relevance not a number": (
        "qrels/test.tsv",
        HEAD + b"q2\td2\t1\nq2\td1\tnan\n",
        "qrels/test.tsv line 3: relevance 'nan' is not a whole number."
        f" Write a whole number, 0 for not relevant, {OR_DROP}",
        3,
        3,
    ),
    "first line no header": (
        "qrels/test.tsv",
        b"q2\td1\thigh\nq2\td2\t1\n",
        "qrels/test.tsv line 1: relevance 'high' is not a whole number."
        f" Write a whole number, 0 for not relevant, {OR_DROP}",
        3,
        3,
    ),
    "two fields": (
        "qrels/test.tsv",
        HEAD + b"q2\td2\t1\nq2\td1\n",
        "qrels/test.tsv line 3: 2 fields, not 3 (BEIR) or 4 (TREC): 'q2\\td1'."
        f" Write query id, document id and a whole number, {OR_DROP}",
        3,
        3,
    ),
    "empty id in qrels": (
        "qrels/test.tsv",
        HEAD + b"q2\td2\t1\nq2\t\t1\n",
        "qrels/test.tsv line 3: the ids 'q2', '' are not both usable."
        f" Write query id, document id and a whole number, {OR_DROP}",
        3,
        3,
    ),
    "conflicting judgments": (
        "qrels/test.tsv",
        HEAD + b"q2\td2\t1\nq2\td2\t0\n",
        "qrels/test.tsv line 3: 'q2', 'd2' has relevance 0 here and 1 in qrels/test.tsv line 2."
        " Keep one of them, or pass data.on_problem=drop to keep the first.",
        3,
        3,
    ),
    "empty split": (
        "qrels/test.tsv",
        HEAD,
        "qrels/test.tsv: split 'test' has no judgment to use."
        " Add judgments or take the file away, or pass data.on_problem=drop.",
        3,
        2,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_broken_input_is_refused_with_one_line(beir: Any, case: str) -> None:
    file, content, message, _, _ = CASES[case]
    with pytest.raises(DataError) as refused:
        load_dataset(str(beir({file: content})))
    assert str(refused.value) == message


@pytest.mark.parametrize("case", CASES)
def test_broken_input_is_dropped_on_demand(beir: Any, case: str) -> None:
    file, content, _, documents, judgments = CASES[case]
    data = load_dataset(str(beir({file: content})), on_problem="drop")
    assert data.findings.problems == 1
    assert len(data.corpus) == documents
    assert sum(len(qrels) for qrels in data.splits.values()) == judgments


def test_all_problems_come_in_one_message(beir: Any) -> None:
    root = beir(
        {
            "corpus.jsonl": D1 + b"oops\n" + D2 + D3 + b'{"_id": "d4", "text": " "}\n',
            "qrels/test.tsv": HEAD + b"q2\td2\t1\n" + b"q2\td9\t1\n" * 1_200,
        }
    )
    with pytest.raises(DataError) as refused:
        load_dataset(str(root))
    place = "qrels/test.tsv line"
    assert str(refused.value).splitlines() == [
        f"{root} has 1,202 problems:",
        "corpus.jsonl line 2: column 1: Expecting value, near 'oops'. Write one JSON object a line,"
        " or pass data.on_problem=drop.",
        "corpus.jsonl line 5: 'text' is empty. Fill the text in or take the row out,"
        " or pass data.on_problem=drop.",
        "unknown document (1,200): Fix the id, or pass data.on_problem=drop.",
        *(f"  {place} {line}: doc 'd9' is not in corpus.jsonl (3 docs)" for line in range(3, 8)),
        "  and 1,195 more",
    ]


def test_dropping_keeps_the_first_of_duplicates(beir: Any) -> None:
    twice = D2 + D1 + D3 + b'{"_id": "d1", "text": "other"}\n'
    data = load_dataset(str(beir({"corpus.jsonl": twice})), on_problem="drop")
    assert list(data.corpus.ids) == ["d2", "d1", "d3"]
    assert data.corpus.text(1) == "ants"


def test_byte_order_mark_and_crlf_are_no_problem(beir: Any) -> None:
    crlf = b"\xef\xbb\xbf" + (D1 + D2 + D3).replace(b"\n", b"\r\n")
    qrels = b"\xef\xbb\xbf" + HEAD.replace(b"\n", b"\r\n") + b"q2\td2\t1\r\n"
    data = load_dataset(str(beir({"corpus.jsonl": crlf, "qrels/test.tsv": qrels})))
    assert data.corpus.texts([0, 1, 2]) == ["ants", "bees", "cats"]
    assert len(data.split("test")) == 1


def test_no_judgments_at_all_is_a_warning(beir: Any) -> None:
    data = load_dataset(str(beir({"qrels/train.tsv": None, "qrels/test.tsv": None})))
    assert data.findings.of("warning") == ["no judgments"]
    with pytest.raises(
        DataError, match=r"has 3 documents and no judged query\. Judge some: whet lab"
    ):
        data.split("test")


def test_an_unknown_split_lists_those_there_are(beir: Any) -> None:
    data = load_dataset(str(beir()))
    with pytest.raises(DataError) as refused:
        data.split("tets")
    assert str(refused.value).endswith(
        "has no split 'tets' (splits: train, test). Did you mean test?"
    )


def test_a_misspelled_path_names_the_right_one(beir: Any) -> None:
    root = beir()
    with pytest.raises(DataError) as refused:
        load_dataset(str(root.parent / "sett"))
    expected = f"{root.parent}/sett: no such file or folder. Did you mean {root}?"
    assert str(refused.value) == expected


def test_a_name_that_is_nowhere_says_so_at_once_and_says_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = time.monotonic()
    with caplog.at_level("WARNING"), pytest.raises(EnvironmentRefused) as refused:
        load_dataset("no-such-owner/no-such-dataset")
    assert str(refused.value) == (
        "no-such-owner/no-such-dataset: is no file or folder here, and the Hugging Face hub cannot"
        " be reached. Check the path, or the network."
    )
    assert not caplog.records
    assert time.monotonic() - start < 15


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", b"PK\x03\x04", "is an archive. Unpack it and give the folder or file inside."),
        (
            "a.tar.gz",
            gzip.compress(b"x" * 257 + b"ustar", mtime=0),
            "is an archive. Unpack it and give the folder or file inside.",
        ),
        ("a.jsonl", b" \n", "is empty. Give it one row a line."),
        (
            "a.json",
            b'[{"query": "a"}]',
            "no column is known as the document. Its columns are query. Say which is which:"
            " data.query=query data.positive=COLUMN data.negatives=[COLUMN,...]",
        ),
        (
            "b.json",
            b'[{"query": "a", "positive": "b"}\n {"query": "c"}]',
            " line 2, column 2: Expecting ',' or ']'. Write whole JSON.",
        ),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"query": "a", "positive": "b"}', mtime=0)[:-6],
            "cannot be read to its end (Compressed file ended before the end-of-stream marker was"
            " reached). Fetch or compress it again.",
        ),
        (
            "a.bin",
            b"\x00\x01",
            "is not jsonl, JSON, csv, tsv or parquet. Convert it to one of them.",
        ),
        (
            "a.csv",
            b"text\nants\n",
            "no column is known as the query. Its columns are text. Say which is which:"
            " data.query=COLUMN data.positive=COLUMN data.negatives=[COLUMN,...]",
        ),
    ],
)
def test_files_of_no_use(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as refused:
        load_dataset(str(tmp_path / name))
    assert str(refused.value).endswith(f"{name}: {message}".replace(":  ", " "))


def test_a_folder_of_nothing_known_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds song\.mp3, no format known here\. Give it corp"):
        load_dataset(str(tmp_path))


def test_a_corpus_of_only_bad_rows_tells_why(beir: Any) -> None:
    with pytest.raises(DataError, match=r"corpus\.jsonl line 1: 'text' is empty\."):
        load_dataset(str(beir({"corpus.jsonl": b'{"_id": "d1", "text": ""}\n'})), on_problem="drop")


def test_on_problem_is_refuse_or_drop(beir: Any) -> None:
    with pytest.raises(ConfigError, match=r"on_problem='ignore' is unknown\. Use refuse or drop\."):
        load_dataset(str(beir()), on_problem="ignore")


@pytest.mark.parametrize(
    "line", ['{"_id": }', '{"_id": "d9", "text": nul}', '{"_id": "d9", "text":']
)
def test_a_value_that_lacks_in_a_row_is_told_by_its_column(beir: Any, line: str) -> None:
    root = beir({"corpus.jsonl": D1 + D2 + D3 + line.encode() + b"\n"})
    with pytest.raises(DataError, match=r"corpus\.jsonl line 4: column \d+: Expecting value"):
        load_dataset(str(root))
