"""Whatever bytes a file holds, reading it gives a dataset or a DataError."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whet.data.load import load_dataset
from whet.errors import DataError

SCRAPS = [
    b"{",
    b"}",
    b"[",
    b'"',
    b"\\",
    b":",
    b",",
    b"\n",
    b"\r",
    b"\t",
    b" ",
    b"\0",
    b"\xff",
    b"1",
]
SCRAPS += [b'"_id"', b'"text"', b'"query"', b'"pos"', b'"positive"', b"\\ud800", b"null", b"1e999"]
SCRAPS += [b'{"_id": "d1", "text": "a"}\n', b'{"query": "a", "positive": ["b", 3]}\n', b"a,b\n"]
SCRAPS += [b"q1\td1\t1\n", b"\xef\xbb\xbf", b"\x1f\x8b", b"PAR1", b'"query_id": 5', b"-", b"NaN"]
BYTES = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(SCRAPS)).map(b"".join))
NAMES = ["a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.json", "a"]
SOUND_CORPUS = b'{"_id": "d1", "text": "a"}\n'

quick = settings(max_examples=60, deadline=None)


def read(path: Path, cache: Path) -> None:
    """Loading either works, with every row in the table, or raises DataError."""
    try:
        data = load_dataset(str(path), on_problem="drop", cache_dir=cache)
    except DataError as error:
        assert str(error).strip()
        return
    for table in (data.corpus, data.queries):
        assert all(text.strip() for text in table.texts(range(len(table))))
    for qrels in data.splits.values():
        assert 0 <= qrels.doc_rows_M.min() <= qrels.doc_rows_M.max() < len(data.corpus)
        assert 0 <= qrels.query_rows_M.min() <= qrels.query_rows_M.max() < len(data.queries)


@quick
@given(content=BYTES, name=st.sampled_from(NAMES))
@example(content=b'"a\nb', name="a.csv")
@example(content=b"PAR1" + b"\0" * 40 + b"PAR1", name="a.parquet")
def test_any_file(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / name).write_bytes(content)
    read(root / name, root / "cache")


@quick
@given(corpus=BYTES, queries=BYTES, qrels=BYTES)
def test_any_beir_folder(
    tmp_path_factory: pytest.TempPathFactory, corpus: bytes, queries: bytes, qrels: bytes
) -> None:
    root = tmp_path_factory.mktemp("beir")
    (root / "qrels").mkdir()
    (root / "corpus.jsonl").write_bytes(SOUND_CORPUS + corpus)
    (root / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "a"}\n' + queries)
    (root / "qrels" / "test.tsv").write_bytes(b"q1\td1\t1\n" + qrels)
    read(root, root / "cache")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = ["query", "pos", "neg", "positive", "label", "query_id", "positive_passages", "docid"]
FIELDS += ["positive_document_ids", "negative_document_ids", "text", "title", "query_text"]
ROWS = st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6), min_size=1, max_size=4)


@quick
@given(rows=ROWS)
@example(rows=[{"query_id": 1, "query": "a", "positive_passages": [{"docid": 1, "text": "b"}]}])
def test_any_values_in_known_fields(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    root = tmp_path_factory.mktemp("rows")
    (root / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    read(root / "a.jsonl", root / "cache")
