"""One file of rows, opened: its columns over all rows, and the rows as often as they are asked for.

A column that the first row lacks is a column all the same, so a file is looked through before it is
read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from whet.data.findings import Findings
from whet.data.readers.lines import Row, is_large
from whet.data.readers.records import PackedRecords, Reading, Record, packed
from whet.data.readers.rows.columns import is_label
from whet.processes.crew import Crew

ReadRows = Callable[[Reading, int], Iterator[Row]]
ReadPiece = Callable[[Reading, int, Any], Iterator[Row]]

MOST_VALUES = 200  # of a label, to tell grades from classes and scores


class Pieces(NamedTuple):
    """How several processes read one file: `cut()` gives its pieces, about a MiB each, in order,
    and `rows(reading, base, piece)` what `read` gives of one. Both pieces and `rows` are pickled.
    """

    path: Path
    cut: Callable[[], Iterator[Any]]
    rows: ReadPiece


@dataclass(frozen=True)
class Opened:
    """A file's columns in order, the names of classes that come with it, and its rows.

    `read(reading, base)` gives the rows anew. `columns` are empty where only the rows tell, until
    the file is looked through; then `labels` are the values of each column that may hold
    grades (a list stands as the type list), as many as tell what they are. `pieces` are None of a
    file that one process reads.
    """

    read: ReadRows
    columns: list[str] = field(default_factory=list)
    unit: str = "line"
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, set[object]] = field(default_factory=dict)
    pieces: Pieces | None = None

    def pieces_for(self, crew: Crew | None) -> Pieces | None:
        """Its pieces, where there is a crew and the file is worth one."""
        if crew is None or self.pieces is None or not is_large(self.pieces.path):
            return None
        return self.pieces


def records_of_rows(
    opened: Opened, make: Callable[..., Iterator[Record]], reading: Reading, base: int
) -> Iterator[Record | PackedRecords]:
    """`make(rows, reading=reading)` of the rows of a file; a large file's come packed, if there is
    a crew to do it, which `make` has to be pickled for.
    """
    crew, pieces = reading.crew, opened.pieces_for(reading.crew)
    if crew is None or pieces is None:
        yield from make(opened.read(reading, base), reading=reading)
        return
    task = partial(_records_of_piece, pieces.rows, make, tuple(reading.files), base)
    for records, found in crew.each(task, pieces.cut()):
        reading.findings.take(found)
        yield records


def _records_of_piece(
    rows: ReadPiece,
    make: Callable[..., Iterator[Record]],
    files: tuple[tuple[str, str], ...],
    base: int,
    piece: Any,
) -> tuple[PackedRecords, Findings]:
    reading = Reading(files=list(files))
    return packed(make(rows(reading, base, piece), reading=reading)), reading.findings


def looked_through(opened: Opened, crew: Crew | None = None) -> Opened:
    """The file with its rows looked through once, a large one's by the crew: for its columns,
    unless they are known, and for the values of its labels. Faults of rows are told when they are
    read.
    """
    if opened.columns and not any(map(is_label, opened.columns)):
        return opened
    pieces = opened.pieces_for(crew)
    if crew is not None and pieces is not None:
        looks = crew.each(partial(_look_at_piece, pieces.rows), pieces.cut())
    else:
        scratch = Reading()
        looks = iter([_look(opened.read(scratch, scratch.file("")), opened.columns)])
    seen = dict.fromkeys(opened.columns)
    labels: dict[str, set[object]] = {name: set() for name in seen if is_label(name)}
    for columns, values in looks:
        seen |= dict.fromkeys(columns)
        for name, later in values.items():
            known = labels.setdefault(name, set())
            for value in later:
                if len(known) < MOST_VALUES:
                    known.add(value)
    return replace(opened, columns=list(seen), labels=labels)


Look = tuple[list[str], dict[str, list[object]]]  # columns, and the values of those with labels


def _look_at_piece(rows: ReadPiece, piece: Any) -> Look:
    scratch = Reading()
    return _look(rows(scratch, scratch.file(""), piece), [])


def _look(rows: Iterable[Row], columns: list[str]) -> Look:
    """Each value once, in the order they came."""
    seen = dict.fromkeys(columns)
    labels: dict[str, dict[object, None]] = {name: {} for name in seen if is_label(name)}
    for _, row in rows:
        if not row.keys() <= seen.keys():
            seen |= dict.fromkeys(row)
            labels |= {name: {} for name in seen if is_label(name) and name not in labels}
        for name, values in labels.items():
            if len(values) < MOST_VALUES and name in row:
                value = row[name]
                values.setdefault(value if isinstance(value, (str, int, float)) else type(value))
    return list(seen), {name: list(values) for name, values in labels.items()}
