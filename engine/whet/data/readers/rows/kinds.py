"""Which kind of file of rows a file is, told by its content; and the file opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from whet.config import DataConfig
from whet.data.readers.lines import Row, json_rows, json_rows_of_piece, pieces_in, read_some
from whet.data.readers.records import Reading, hidden
from whet.data.readers.rows.arrow_files import open_arrow, open_parquet
from whet.data.readers.rows.delimited import open_delimited
from whet.data.readers.rows.json_files import is_set, is_whole_json, json_file_rows
from whet.data.readers.rows.opened import Opened, Pieces
from whet.errors import DataError
from whet.printable import printable

ENDINGS = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
SET = "JSON set"  # one object that holds queries and documents by their ids
_SPLITS = {"validation": "dev", "valid": "dev", "val": "dev", "eval": "dev", "training": "train"}
_SHARD = re.compile(r"[-_.]\d+([-_.]of[-_.]\d+)?$")
_NOT_DATA = (
    *("dataset_info", "dataset_dict.json", "state.json", "config.json", "croissant"),
    *("metadata.json", "merlin_metadata.json", "package.json", "datapackage.json"),
)


def split_name(name: str) -> str:
    """train, dev or test for the names others use; anything else as it is.

    >>> split_name("validation"), split_name("mine")
    ('dev', 'mine')
    """
    return _SPLITS.get(name.lower(), name)


def stem_of(path: Path) -> str:
    """`train` of train.jsonl.gz, and of its piece train-00000-of-00002.parquet."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return _SHARD.sub("", Path(name).stem)


def is_row_file(path: Path) -> bool:
    """True for a file with the ending of row files, hidden ones and descriptions left out."""
    name = path.name.lower().removesuffix(".gz")
    named = name.endswith(ENDINGS) and not hidden(path) and not name.startswith(_NOT_DATA)
    return named and path.is_file()


def file_kind(path: Path) -> str:
    """The kind of a file of rows, by its first bytes. DataError for anything else."""
    head = read_some(path, 4096).removeprefix(b"\xef\xbb\xbf")
    _refuse_page(path, head)
    start = head.lstrip()[:1]
    if not start:
        raise DataError(f"{printable(path)}: is empty. Give it one row a line.")
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1") or _named(path, ".arrow"):
        return "Arrow"
    if start == b"[" and _named(path, ".json", ".jsonl", ".ndjson"):
        return "JSON"
    if start == b"{" and not _named(path, ".csv", ".tsv"):
        if not is_whole_json(path):
            return "jsonl"
        return SET if is_set(path) else "JSON"
    if _named(path, ".csv", ".tsv"):
        return "tsv" if b"\t" in head.split(b"\n")[0] else "csv"
    if _named(path, *ENDINGS):
        return "jsonl"  # so that the line at fault is named
    raise DataError(
        f"{printable(path)}: is not jsonl, JSON, csv, tsv or parquet. Convert it to one of them."
    )


def open_rows(path: Path, kind: str, config: DataConfig) -> Opened:
    """A file of rows of a kind that `file_kind` gave."""
    if kind == "parquet":
        return open_parquet(path)
    if kind == "Arrow":
        return open_arrow(path)
    if kind in ("csv", "tsv"):
        return open_delimited(path, config)
    if kind == "jsonl":
        pieces = Pieces(path, partial(pieces_in, path), partial(json_rows_of_piece, path))
        return Opened(partial(json_rows, path), pieces=pieces)
    return Opened(partial(json_file_rows, path))


def rows_of(path: Path, name: str, reading: Reading) -> Iterator[Row]:
    """The rows of a file whose columns have fixed names: ids and texts, or judgments."""
    opened = open_table(path)
    yield from opened.read(reading, reading.file(name, opened.unit))


def open_table(path: Path) -> Opened:
    """Such a file, opened."""
    kind = "jsonl" if _named(path, ".jsonl", ".ndjson") else file_kind(path)
    _refuse_page(path, read_some(path, 64))
    return open_rows(path, kind, DataConfig())


def _refuse_page(path: Path, head: bytes) -> None:
    """DataError for what a failed download leaves."""
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise DataError(
            f"{printable(path)}: is a web page, as a failed download leaves one. Download it again."
        )


def _named(path: Path, *endings: str) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(endings)
