"""What the columns of an opened file mean, with what its values say of its label and its header."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice

from whet.config import DataConfig
from whet.data.findings import excerpt
from whet.data.readers.records import Reading
from whet.data.readers.rows.columns import (
    Roles,
    is_teacher,
    plain,
    roles_of,
    scores_of,
    spelled,
    tell_unread,
)
from whet.data.readers.rows.delimited import NUMBERED
from whet.data.readers.rows.opened import Opened
from whet.data.readers.rows.pairs import Grade, grade_from, label_fault, row_grade
from whet.errors import DataError

_LOOKED_AT = 50  # rows
_SHORT = 40  # characters of a cell that may be a column's name


def settled_roles(
    opened: Opened, where: str, reading: Reading, config: DataConfig
) -> tuple[Roles, Grade]:
    """The role of each column and how its labels are read; what is not read is told. DataError
    where it is not certain.
    """
    chosen = config.query or config.positive or config.negatives
    if opened.columns[0] == NUMBERED.format(1) and not chosen:
        return _without_header(opened, where, reading), row_grade
    roles = roles_of(opened.columns, config, where)
    teachers = roles.label if _is_teachers(opened, roles, config) else None
    if teachers is not None:
        roles = replace(roles, label=None)
    elif roles.label is not None:
        _check_label(opened, roles, where, config)
    rest = [name for name in opened.columns if name not in roles.read]
    scores = scores_of(rest, teachers) if roles.negatives else ()
    roles = replace(roles, scores=scores)
    tell_unread(
        opened.columns, roles.read, reading, where, scores=scores or tuple(filter(None, [teachers]))
    )
    if len({re.sub(r"_?\d+$", "", plain(name)) for name in roles.positives}) > 1:
        what = f"each of {', '.join(map(excerpt, roles.positives))} is a relevant document"
        reading.findings.add("several positive columns", where, what)
    threshold = config.relevant_from
    return roles, row_grade if threshold is None else grade_from(threshold)


def _is_teachers(opened: Opened, roles: Roles, config: DataConfig) -> bool:
    """True where the label is a teacher's: a list of scores, or fractions beside negatives."""
    if roles.label is None or config.relevant_from is not None:
        return False
    values = opened.labels.get(roles.label, set())
    if list in values or is_teacher(roles.label):
        return True
    fault = label_fault(values, ()) or ""
    return bool(roles.negatives) and "fractions" in fault


def _check_label(opened: Opened, roles: Roles, where: str, config: DataConfig) -> None:
    label = roles.label or ""
    values, classes = opened.labels.get(label, set()), opened.classes.get(label, ())
    fault = label_fault(values, classes, roles, config.relevant_from)
    if fault is not None:
        raise DataError(f"{where}: {spelled(label)} {fault}")


def _without_header(opened: Opened, where: str, reading: Reading) -> Roles:
    """Two columns of text without a header are query and positive, which is told; other columns,
    numbers, and a first line that may be a header are asked about.
    """
    scratch = Reading()
    rows = [row for _, row in islice(opened.read(scratch, scratch.file("")), _LOOKED_AT)]
    names = opened.columns
    first = [rows[0].get(name, "") for name in names] if rows else []
    ask = (
        f"Say which is which: data.query='{names[0]}' data.positive='{names[1]}'"
        if len(names) > 1
        else "Pairs need two"
    )
    begins = f"{where}: has no header that is known, and {len(names)} columns; it begins "
    if len(names) != 2 or any(all(row.get(n, "").isdigit() for row in rows) for n in names):
        raise DataError(f"{begins}{excerpt(first, 120)}. {ask}, or write a header.")
    later = [len(row.get(name, "")) for row in rows[1:] for name in names]
    if later and max(map(len, first)) <= _SHORT and max(map(len, first)) * 3 < max(later):
        raise DataError(
            f"{begins}{excerpt(first, 120)}, names or texts? If names, data.query="
            f"{spelled(first[0])} data.positive={spelled(first[1])}; else data.query='column 1' "
            "data.positive='column 2'."
        )
    reading.findings.add("no header", f"{where} line 1", "the first line is taken as data")
    what = f"taken {excerpt(names[0])} as the query, {excerpt(names[1])} as the positive"
    reading.findings.add("columns by order", where, what)
    return Roles(names[0], (names[1],))
