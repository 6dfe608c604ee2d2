"""One file of rows, opened: its columns over all rows, and the rows as often as they are asked for.

A column that the first row lacks is a column all the same, so a file is looked through before it is
read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from whet.data.readers.lines import Row, is_large, pieces_in, rows_of_piece
from whet.data.readers.records import Reading
from whet.data.readers.rows.columns import is_label
from whet.processes.crew import Crew

ReadRows = Callable[[Reading, int], Iterator[Row]]

MOST_VALUES = 200  # of a label, to tell grades from classes and scores


@dataclass(frozen=True)
class Opened:
    """A file's columns in order, the names of classes that come with it, and its rows.

    `read(reading, base)` gives the rows anew. `columns` are empty where only the rows tell, until
    the file is looked through; then `labels` are the values of each column that may hold
    grades (a list stands as the type list), as many as tell what they are. `jsonl` is the file
    where it is one of JSON rows, which can be read in pieces.
    """

    read: ReadRows
    columns: list[str] = field(default_factory=list)
    unit: str = "line"
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, set[object]] = field(default_factory=dict)
    jsonl: Path | None = None


def looked_through(opened: Opened, crew: Crew | None = None) -> Opened:
    """The file with its rows looked through once, a large one's by the crew: for its columns,
    unless they are known, and for the values of its labels. Faults of rows are told when they are
    read.
    """
    if opened.columns and not any(map(is_label, opened.columns)):
        return opened
    if crew is not None and opened.jsonl is not None and is_large(opened.jsonl):
        looks = crew.each(partial(_look_at_piece, opened.jsonl), pieces_in(opened.jsonl))
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


def _look_at_piece(path: Path, piece: tuple[int, bytes]) -> Look:
    scratch = Reading()
    return _look(rows_of_piece(path, scratch, scratch.file(""), piece), [])


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
