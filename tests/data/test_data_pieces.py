"""Large files are read in pieces by several processes: the cache has the same bytes, and what is
told is the same.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.config import DataConfig
from whet.data import build
from whet.data import table as table_module
from whet.data.load import load_dataset
from whet.data.readers import lines
from whet.data.readers.records import Reading
from whet.data.readers.rows import arrow_files
from whet.data.readers.rows.delimited import open_delimited
from whet.data.readers.rows.opened import Pieces
from whet.data.table import repeated_rows, write_table
from whet.errors import DataError
from whet.storage import blocks
from whet.storage.blocks import TEXTS, BlockWriter, rows_as

LINE = st.sampled_from(
    [
        *(b'{"_id": "a", "text": "x"}', b'{"_id": "\xc3\xa9\xe4\xb8\xad", "text": "y"}', b"", b" "),
        *(b"{", b"[1]", b'{"a": "\xff"}', b"\xef\xbb\xbf{}", b'{"long": "' + b"l" * 70 + b'"}'),
    ]
)


def told(read: Callable[[Reading], Any]) -> tuple[list[Any], dict[str, Any], str]:
    """Rows, findings and the error of one reading."""
    reading, rows, fault = Reading(), [], ""
    try:
        for row in read(reading):
            rows.append(row)
    except DataError as error:
        fault = str(error)
    return rows, reading.findings.to_dict(), fault


def whole_and_pieces(path: Path) -> tuple[Any, Any]:
    def in_pieces(reading: Reading) -> Any:
        base = reading.file("f.jsonl")
        for piece in lines.pieces_in(path):
            yield from lines.json_rows_of_piece(path, reading, base, piece)

    return told(lambda r: lines.json_rows(path, r, r.file("f.jsonl"))), told(in_pieces)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(LINE, max_size=30),
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    piece=st.integers(1, 100),
    torn=st.integers(0, 8),  # bytes of the end, which tells that all is there
)
def test_pieces_hold_what_the_file_holds(
    rows: list[bytes], end: bytes, last: bool, piece: int, torn: int
) -> None:
    content = end.join(rows) + (end if last else b"")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "PIECE", piece)
        patch.setattr(lines, "LINE_LIMIT", 64)  # bytes: one of the lines is too long
        path = Path(folder) / "f.jsonl"
        path.write_bytes(content)
        whole, pieces = whole_and_pieces(path)
        assert pieces == whole
        packed = gzip.compress(content)
        path.write_bytes(packed[: len(packed) - torn])
        whole, pieces = whole_and_pieces(path)
        assert pieces == whole
        assert bool(whole[2]) == bool(torn) or not content


CELLS = st.sampled_from(
    [b"a\tb", b'"c\td"', b"e\tf\tg", b"\xff\th", b"", b"i\rj\tk", b"l", b"\tm", b"n\t" + b"l" * 70]
)


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(CELLS, max_size=30), piece=st.integers(1, 60), header=st.booleans())
def test_pieces_of_a_tsv_hold_what_the_file_holds(
    rows: list[bytes], piece: int, header: bool
) -> None:
    first = b"query\tpositive" if header else b"what is it?\tthat"
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "PIECE", piece)
        patch.setattr(lines, "LINE_LIMIT", 64)
        path = Path(folder) / "f.tsv"
        path.write_bytes(b"\xef\xbb\xbf" + b"\n".join([first, *rows]))
        opened = open_delimited(path, DataConfig())
        assert opened.pieces is not None
        assert told(partial(_in_pieces, opened.pieces)) == told(
            lambda reading: opened.read(reading, reading.file("f.tsv"))
        )


def _in_pieces(pieces: Pieces, reading: Reading) -> Any:
    base = reading.file("f.tsv")
    for piece in pieces.cut():
        yield from pieces.rows(reading, base, piece)


def test_a_csv_with_quotes_is_read_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text('query,positive\n"a\nb",c\n')
    opened = open_delimited(path, DataConfig())
    assert opened.pieces is None
    reading = Reading()
    rows = [row for _, row in opened.read(reading, reading.file("f.csv"))]
    assert rows == [{"query": "a\nb", "positive": "c"}]


def test_a_categorical_column_is_read_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    texts = pa.array(["a", "b", "a"])
    for kind, cut in ((texts, True), (texts.dictionary_encode(), False)):
        pq.write_table(pa.table({"query": kind}), path)
        opened, reading = arrow_files.open_parquet(path), Reading()
        assert (opened.pieces is not None) is cut
        rows = [row["query"] for _, row in opened.read(reading, reading.file("f"))]
        assert rows == ["a", "b", "a"]


@settings(max_examples=80, deadline=None)
@given(
    parts=st.lists(st.tuples(st.booleans(), st.lists(st.text("aé中 ", max_size=6), max_size=12))),
    most_rows=st.integers(1, 7),
    most_chars=st.integers(1, 20),
)
def test_blocks_have_the_same_bytes_by_rows_and_by_columns(
    parts: list[tuple[bool, list[str]]], most_rows: int, most_chars: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_ROWS", most_rows)
        patch.setattr(blocks, "BLOCK_CHARS", most_chars)
        one, many = (BlockWriter(Path(folder) / name, TEXTS) for name in ("one", "many"))
        for columns, texts in parts:
            rows = [(f"é{number}", text) for number, text in enumerate(texts)]
            for row in rows:
                one.add(row, len(row[1]))
            if columns and rows:
                many.add_rows(rows_as(TEXTS, rows), np.array([len(text) for text in texts]))
            else:
                for row in rows:
                    many.add(row, len(row[1]))
        one.close()
        many.close()
        assert many.path.read_bytes() == one.path.read_bytes()
        sizes = [len(block) for block in blocks.blocks_in(one.path)]
        assert sum(sizes) == sum(len(texts) for _, texts in parts)
        assert max(sizes, default=0) <= most_rows


IDS = st.lists(st.text("abé中😀 ", min_size=1, max_size=3), max_size=25)


@settings(max_examples=80, deadline=None)
@given(ids=IDS, asked=IDS, hashes=st.integers(1, 5))
def test_look_ups_are_those_of_a_dict_whatever_ids_share_a_hash(
    ids: list[str], asked: list[str], hashes: int
) -> None:
    def few(texts: Any) -> np.ndarray:
        return np.array([sum(map(ord, text)) % hashes for text in texts], np.uint64)

    first: dict[str, int] = {}
    again = [(row, first.setdefault(id_, row)) for row, id_ in enumerate(ids)]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "hash64", few)
        table = write_table(Path(folder) / "all.arrow", ((id_, "x") for id_ in ids))
        pairs = [list(pair) for pair in again if pair[0] != pair[1]]
        assert repeated_rows(table).tolist() == pairs
        once = write_table(Path(folder) / "once.arrow", ((id_, "x") for id_ in first))
        rows = {id_: row for row, id_ in enumerate(first)}
        wanted = [*asked, *ids]
        assert once.rows_of(wanted).tolist() == [rows.get(id_, -1) for id_ in wanted]


def _beir(root: Path) -> None:
    corpus = [
        {"_id": f"d{n % 900}é", "title": "T" * (n % 2), "text": f"text {n}"} for n in range(990)
    ]
    queries = [{"_id": f"q{n}", "text": f"Text  {n}"} for n in range(500)]
    rows = [json.dumps(row, ensure_ascii=bool(n % 2)) for n, row in enumerate(corpus)]
    rows[7:7] = ["{", '{"_id": " x", "text": "y"}', '{"_id": "x", "text": ""}']
    (root / "corpus.jsonl.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    judged = "".join(f"q{n}\td{n}é\t1\n" for n in range(0, 510, 2))
    (root / "qrels").mkdir()
    (root / "qrels/test.tsv").write_text(judged)


def _pairs(root: Path) -> None:
    rows: list[Any] = [
        {"query": f"q{n % 300}", "pos": [f"p{n}"], "neg": [f"n{n}", "", f"m{n}"], "label": n % 3}
        for n in range(700)
    ]
    for at, row in enumerate(rows):
        if at % 5 == 0:
            row |= {"neg": [f"n{at}"], "pos_scores": [1.5], "neg_scores": [at / 7]}
    rows[100] = {"query": None, "pos": ["x"]}
    for split in ("train", "dev"):
        (root / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def _columns(root: Path) -> None:
    """Parquet with several row groups, nulls, and texts that are no UTF-8."""
    count = 3_000
    texts = [f"text {n}".encode() if n % 701 else b"no UTF-8 \xff" for n in range(count)]
    columns = {
        "_id": pa.array([f"d{n % 2900}" if n % 97 else None for n in range(count)]),
        "title": pa.array(["T", "Ü"] * (count // 2)),
        "text": pa.Array.from_buffers(pa.string(), count, pa.array(texts, pa.binary()).buffers()),
    }
    (root / "corpus").mkdir()
    pq.write_table(pa.table(columns), root / "corpus/train-00000-of-00001.parquet", 700)
    rows = [f"q{n}\tquery {n}" if n % 50 else f"q{n}\tmore\tcells" for n in range(600)]
    (root / "queries.tsv").write_text("\n".join(["_id\ttext", *rows]))
    (root / "qrels").mkdir()
    (root / "qrels/test.tsv").write_text("".join(f"q{n}\td{n}\t1\n" for n in range(1, 90)))


def _labelled(root: Path) -> None:
    """Pairs with labels, as tsv and as Arrow that `datasets` saved would be."""
    rows = [(f"q{n % 300}", f"p{n}", n % 2) for n in range(900)]
    lines = [f"{query}\t{text}\t{label}" for query, text, label in rows]
    lines[5:5] = ["", "a\tb\t1\tc", "\tz\t1"]
    (root / "train.tsv").write_text("\n".join(["query\tpositive\tlabel", *lines]))
    names = ("query", "positive", "label")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    with pa.ipc.new_stream(str(root / "dev.arrow"), table.schema) as stream:
        stream.write_table(table, max_chunksize=400)


@pytest.mark.parametrize("make", [_beir, _pairs, _columns, _labelled])
def test_several_processes_write_the_bytes_of_one(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    root.mkdir()
    make(root)
    refused, digests = [], []
    for name, large in (("one", 1 << 60), ("several", 1)):
        monkeypatch.setattr(lines, "LARGE", large)
        monkeypatch.setattr(table_module, "LARGE", large)
        monkeypatch.setattr(lines, "PIECE", 4096)
        monkeypatch.setattr(arrow_files, "PIECE", 4096)
        monkeypatch.setattr(build, "cores", lambda: 2)
        with pytest.raises(DataError) as refusal:
            load_dataset(str(root), cache_dir=tmp_path / name)
        refused.append(str(refusal.value))
        digests.append(load_dataset(str(root), on_problem="drop", cache_dir=tmp_path / name).digest)
    assert refused[0] == refused[1]
    assert digests[0] == digests[1]
    one, several = (tmp_path / name / "data" for name in ("one", "several"))
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [
        name for name in files if (one / name).read_bytes() != (several / name).read_bytes()
    ] == []


READ = """
import sys
from pathlib import Path
from whet.data.load import load_dataset

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(name))

before = status("VmRSS")
load_dataset(sys.argv[1], cache_dir=Path(sys.argv[2]))
assert "torch" not in sys.modules
print(status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc has the peak")
def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    filler = "word " * 1_000
    with (root / "corpus.jsonl").open("w") as file:
        for number in range(60_000):  # 300 MB
            file.write(json.dumps({"_id": f"d{number}", "text": f"{number} {filler}"}) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(root), str(tmp_path / "cache")],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert int(done.stdout) < 200, "MB above the interpreter"
