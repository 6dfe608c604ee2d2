"""Queries that people asked, in a file: to learn from, or to judge what they find."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whet.data.readers.lines import open_bytes
from whet.data.text import text_fault
from whet.errors import DataError
from whet.printable import printable

NAMES = ("query", "text", "question", "q", "search", "keywords")  # of the column with the queries
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")


def read_queries(path: str) -> list[str]:
    """The queries of a file (also gzipped), in order: .csv and .tsv have a column named query or
    text, .jsonl texts or objects with such a field, any other file one query a line. Empty ones are
    passed over.

    DataError names file and line of what cannot be read, and a file without a query.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"queries={printable(path)} is no file. Give a log: txt, csv or jsonl.")
    queries = list(_texts(file))
    if not queries:
        raise DataError(f"{printable(path)} holds no query. Write one a line.")
    return queries


def _texts(file: Path) -> Iterator[str]:
    """The query of each row."""
    kind = file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix
    lines = _lines(file)
    if kind.lower() in JSON_LINES:
        rows = _of_json(file, lines)
    elif kind.lower() in DELIMITERS:
        rows = _of_columns(file, lines, DELIMITERS[kind.lower()])
    else:
        rows = lines
    for number, text in rows:
        if isinstance(text, str) and not text.strip():
            continue
        if fault := text_fault(text):
            raise _bad(file, number, fault)
        yield text


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    with open_bytes(file) as handle:
        try:
            for number, raw in enumerate(handle, 1):
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                try:
                    yield number, raw.decode().rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise _bad(file, number, f"byte {error.start + 1} is no UTF-8") from error
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(
                f"{printable(file)}: cannot be read to its end ({error}). Fetch it again."
            ) from error


def _of_json(file: Path, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, Any]]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _bad(file, number, "no JSON") from error
        if isinstance(row, dict):
            name = next((name for name in NAMES if name in row), None)
            if name is None:
                raise _bad(file, number, f"has none of the fields {', '.join(NAMES)}")
            row = row[name]
        yield number, row


def _of_columns(
    file: Path, lines: Iterator[tuple[int, str]], delimiter: str
) -> Iterator[tuple[int, str]]:
    rows = csv.reader((f"{line}\n" for _, line in lines), delimiter=delimiter, strict=True)
    try:
        head = [name.strip().lower() for name in next(rows, [])]
        column = next((head.index(name) for name in NAMES if name in head), None)
        if column is None:
            raise _bad(file, 1, f"has no column named {', '.join(NAMES)}")
        for row in rows:
            if not row:
                continue
            if len(row) <= column:
                raise _bad(file, rows.line_num, f"has no column {column + 1}")
            yield rows.line_num, row[column]
    except csv.Error as error:
        raise _bad(file, rows.line_num, str(error)) from error


def _bad(file: Path, number: int, fault: str) -> DataError:
    return DataError(f"{printable(file)} line {number:,}: {fault}. Mend the line or take it out.")
