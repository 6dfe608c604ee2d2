"""Csv and tsv files: which character separates, whether the first line is a header, the rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from whet.config import DataConfig
from whet.data.readers.lines import (
    LINE_LIMIT,
    Row,
    lines_of_piece,
    numbered_lines,
    pieces_in,
    read_some,
)
from whet.data.readers.records import Reading
from whet.data.readers.rows.columns import known_name, negatives_named, plain
from whet.data.readers.rows.opened import Opened, Pieces

_SEPARATORS = "\t,;|"
_HEAD = 1 << 16  # bytes that tell the separator
_SAMPLE = 20  # rows that do
_SPREADSHEET = re.compile(r"sep=(.)\r?\n")
_IDENTIFIER = re.compile(r"[A-Za-z_][\w.-]{0,39}$")
NUMBERED = "column {}"  # the name of a column in a file without a header


def separator_of(head: str) -> str:
    r"""What separates the fields: where the header has more known names, the rows are more alike.

    >>> separator_of("query;positive\nwhat, then?;this"), separator_of("a,b\n1,2")
    (';', ',')
    """

    def merit(separator: str) -> tuple[float, ...]:
        rows = _sample(head, separator)
        width = len(rows[0]) if rows else 0
        if width < 2:
            return (0.0, 0.0, 0.0)
        known = sum(map(known_name, rows[0]))
        return known, sum(len(row) == width for row in rows) / len(rows), -width

    return max(_SEPARATORS, key=merit) if head else ","


def _sample(head: str, separator: str) -> list[list[str]]:
    table = csv.reader(io.StringIO(head), delimiter=separator, quoting=_quoting(separator))
    try:
        rows = [row for row in islice(table, _SAMPLE + 1) if row]
    except csv.Error:
        return []
    return rows[:-1] if len(rows) > _SAMPLE else rows


def _quoting(separator: str) -> Any:
    # In a tsv a quote is a character like others; read as csv it would swallow lines.
    return csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL


def open_delimited(path: Path, config: DataConfig) -> Opened:
    """A csv (RFC 4180 quotes) or tsv (no quotes at all) file; its first line is a header if it
    holds a known or named column, or identifiers alone.
    """
    head = read_some(path, _HEAD).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    told = _SPREADSHEET.match(head)  # a first line sep=; of a spreadsheet
    head = head[told.end() :] if told else head
    separator = told[1] if told else separator_of(head)
    first = next(iter(_sample(head, separator)), [])
    named = {
        plain(name) for name in (config.query, config.positive, *negatives_named(config)) if name
    }
    identifiers = all(not cell.strip() or _IDENTIFIER.match(cell.strip()) for cell in first)
    header = any(known_name(cell) or plain(cell) in named for cell in first) or identifiers
    places = [NUMBERED.format(number + 1) for number in range(len(first))]
    names = _names(first) if header else places
    file = Delimited(path, separator, names, bool(told) + header)
    pieces = None
    if _quoting(separator) == csv.QUOTE_NONE:  # else a row's end is known from the start on alone
        pieces = Pieces(path, partial(pieces_in, path), file.rows_of_piece)
    return Opened(file.rows, names, pieces=pieces)


def _names(header: list[str]) -> list[str]:
    """The header's names, without the blanks at their ends; a nameless column is `Unnamed: n`, and
    the second of one name `name_2`.
    """
    names: list[str] = []
    for number, cell in enumerate(header):
        name = cell.strip() or f"Unnamed: {number}"
        again = sum(other == name or other.startswith(f"{name}_") for other in names)
        names.append(f"{name}_{again + 1}" if name in names else name)
    return names


@dataclass(frozen=True)
class Delimited:
    """A file of cells: what separates them, the columns, how many rows are before the first."""

    path: Path
    separator: str
    names: list[str]
    skipped: int

    def rows(self, reading: Reading, base: int) -> Iterator[Row]:
        """Its rows, by their columns."""
        yield from self._rows(numbered_lines(self.path, reading, base), self.skipped, reading)

    def rows_of_piece(self, reading: Reading, base: int, piece: tuple[int, bytes]) -> Iterator[Row]:
        """The same of a piece, where a row is a line; what is skipped is in the first."""
        lines = lines_of_piece(self.path, reading, base, piece)
        yield from self._rows(lines, 0 if piece[0] else self.skipped, reading)

    def _rows(
        self, numbered: Iterator[tuple[int, str]], skipped: int, reading: Reading
    ) -> Iterator[Row]:
        csv.field_size_limit(LINE_LIMIT)
        lines, quoting = _Lines(numbered), _quoting(self.separator)
        table = csv.reader(lines, delimiter=self.separator, quoting=quoting, strict=True)
        fields = _fields(table, lines, reading)
        for place, cells in islice(fields, skipped, None):
            if len(cells) > len(self.names):
                what = f"{len(cells)} fields, but {len(self.names)} columns"
                reading.add("bad CSV", place, what)
            else:
                # an empty cell is how these formats say "none": a triplet with fewer negatives
                yield place, {n: f for n, f in zip(self.names, cells, strict=False) if f}


class _Lines:
    """Lines for csv.reader, remembering the place of the last one."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self.place = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.place, line = next(self._lines)
        return line + "\n"


def _fields(
    table: Iterator[list[str]], lines: _Lines, reading: Reading
) -> Iterator[tuple[int, list[str]]]:
    while True:
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            reading.add("bad CSV", lines.place, str(error))
        else:
            if cells:
                yield lines.place, cells
