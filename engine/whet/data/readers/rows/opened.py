"""One file of rows, opened: its columns over all rows, and the rows as often as they are asked for.

A column that the first row lacks is a column all the same, so a file is looked through before it is
read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from whet.data.readers.records import Reading
from whet.data.readers.rows.columns import is_label

Row = tuple[int, dict[str, Any]]
ReadRows = Callable[[Reading, int], Iterator[Row]]

MOST_VALUES = 200  # of a label, to tell grades from classes and scores


@dataclass(frozen=True)
class Opened:
    """A file's columns in order, the names of classes that come with it, and its rows.

    `read(reading, base)` gives the rows anew. `columns` are empty where only the rows tell, until
    the file is looked through; then `labels` are the values of each column that may hold
    grades (a list stands as the type list), as many as tell what they are.
    """

    read: ReadRows
    columns: list[str] = field(default_factory=list)
    unit: str = "line"
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, set[object]] = field(default_factory=dict)


def looked_through(opened: Opened) -> Opened:
    """The file with its rows looked through once: for its columns, unless they are known, and for
    the values of its labels. Faults of rows are told when they are read.
    """
    seen = dict.fromkeys(opened.columns)
    labels: dict[str, set[object]] = {name: set() for name in seen if is_label(name)}
    if seen and not labels:
        return opened
    scratch = Reading()
    for _, row in opened.read(scratch, scratch.file("")):
        if not row.keys() <= seen.keys():
            seen |= dict.fromkeys(row)
            labels |= {name: set() for name in seen if is_label(name) and name not in labels}
        for name, values in labels.items():
            if len(values) < MOST_VALUES and name in row:
                value = row[name]
                values.add(value if isinstance(value, (str, int, float)) else type(value))
    return replace(opened, columns=list(seen), labels=labels)
