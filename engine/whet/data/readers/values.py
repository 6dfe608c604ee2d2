"""Ids, texts and grades as rows hold them: taken where they can be used, else noted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from whet.data.findings import excerpt
from whet.data.readers.records import Judgment, Reading, Text
from whet.data.text import id_of
from whet.storage.pictures import MOST_BYTES, picture_fault

ID_NAMES = (
    *("_id", "id", "docid", "doc_id", "document_id", "pid", "qid", "query_id"),
    *("corpus-id", "corpus_id", "query-id", "docno", "doc-id", "document-id"),
)
TEXT_NAMES = (
    *("text", "contents", "content", "document_text", "passage", "body"),
    *("query", "question", "query_text"),
)
IMAGE, IMAGES = "image", ("image", "img", "picture")  # the column of a row's picture
_WHOLE = re.compile(r"-?[0-9]{1,10}(\.0{1,10})?")


class Extra(NamedTuple):
    """What rows may hold beside a text: pictures, as paths from this folder or as bytes, and labels
    in the column `label`.
    """

    folder: Path | None
    label: str | None


NO_EXTRA = Extra(None, None)


def text_of(row: dict[str, Any], field: str, reading: Reading, place: int) -> str | None:
    """A row's `title` and `field` joined by a space (BEIR's rule), or the one there is; None if not
    usable.
    """
    title = row.get("title")
    if field not in row and not title:
        reading.add("missing field", place, f"no {field!r}, only {excerpt(list(row))}")
        return None
    text = row.get(field)
    # An empty title counts as none: joined, it would leave a space before the text.
    if title is None or title == "":
        return text if reading.usable(text, place, f"{field!r}") else None
    if text is None or text == "":
        return title if reading.usable(title, place, "'title'") else None
    if not isinstance(title, str) or not isinstance(text, str):
        what, name = (text, field) if isinstance(title, str) else (title, "title")
        reading.usable(what, place, f"{name!r}")
        return None
    joined = f"{title} {text}"
    return joined if reading.usable(joined, place, f"title and {field!r}") else None


def judgment_of(
    fields: Sequence[object], split: str, reading: Reading, place: int
) -> Judgment | None:
    """The judgment of (query id, document id, relevance), or None where one of them is unusable."""
    query_id, doc_id, relevance = id_of(fields[0]), id_of(fields[1]), whole_number(fields[2])
    if query_id is None or doc_id is None:
        what = f"the ids {excerpt(fields[0])}, {excerpt(fields[1])} are not both usable"
        reading.add("bad judgment", place, what)
    elif relevance is None:
        reading.add("bad relevance", place, f"relevance {excerpt(fields[2])} is not a whole number")
    else:
        return Judgment(split, query_id, doc_id, relevance, place)
    return None


def whole_number(value: object) -> int | None:
    """An int from 1, "1", 1.0 or "1.0" within 32 bits; None for anything else.

    Text must be plain digits: `int` and `float` would also read "1_0", " 1", "+1" and digits of
    other scripts.

    >>> whole_number("1.0"), whole_number("+1"), whole_number(1.5), whole_number(True)
    (1, None, None, None)
    """
    if isinstance(value, str):
        value = int(value.partition(".")[0]) if _WHOLE.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if abs(value) < 2**31 else None


def table_row(
    row: dict[str, Any], table: str, reading: Reading, place: int, *, extra: Extra = NO_EXTRA
) -> Text | None:
    """The document or query of one row (`_id` or `id`, `title`, `text`, or other usual names), or
    None if unusable. A query with a label is of the split test.
    """
    id_name = next((name for name in ID_NAMES if name in row), "_id")
    raw = row.get(id_name)
    id_ = id_of(raw)
    if raw is None:
        reading.add("missing field", place, f"no '_id', only {excerpt(list(row))}")
    elif id_ is None:
        reading.add("bad id", place, f"id {excerpt(raw)}")
    else:
        known = TEXT_NAMES if id_name != "_id" else ()  # BEIR's own rows have one name for it
        field = next((name for name in known if name in row), "text")
        payload = None
        if extra.folder is not None and row.get(IMAGE) is not None:
            payload = picture_of(row[IMAGE], extra.folder, reading, place)
            if payload is None:
                return None
        alone = payload is not None and not row.get("title") and not row.get(field)
        text = "" if alone else text_of(row, field, reading, place)
        label = None
        if text is not None and extra.label is not None:
            label = label_of(row, extra.label, reading, place)
            if label is None:
                return None
        if text is not None:
            return Text(table, id_, text, place, payload, label, "test" if label else "")
    return None


def label_of(row: dict[str, Any], column: str, reading: Reading, place: int) -> str | None:
    """A row's label as text, or None where it has none that can be used."""
    label = row.get(column)
    if isinstance(label, (str, int)) and not isinstance(label, bool) and str(label).strip():
        return str(label)
    what = f"{column!r} is {excerpt(label)}, no label" if column in row else f"no {column!r}"
    reading.add("missing field", place, what)
    return None


def picture_column(columns: Sequence[str]) -> str | None:
    """The column of pictures among a file's, or None."""
    return next((name for name in IMAGES if name in columns), None)


def is_picture(cell: object, folder: Path) -> bool:
    """Whether a cell of the column is a picture: bytes, or the path of a file in the folder. An
    address or the name of something else is none, and such rows are texts.
    """
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    named = isinstance(cell, str) and _in_folder(cell, folder)[1] is None
    return isinstance(cell, bytes) or named


def picture_of(cell: object, folder: Path, reading: Reading, place: int) -> bytes | None:
    """The bytes of a picture: those in the cell, as parquet and Hugging Face's `{"bytes": ...}`
    have them, or of the file that it names, in `folder` or below. None where it cannot be read.
    """
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    fault: str | None
    if isinstance(cell, str):
        cell, fault = _in_folder(cell, folder)
        if fault is not None:
            reading.add("picture that cannot be read", place, fault)
            return None
    if not isinstance(cell, bytes):
        what = f"{IMAGE!r} is {excerpt(cell)}, neither bytes nor a file's path"
        reading.add("picture that cannot be read", place, what)
        return None
    fault = picture_fault(cell)
    if fault is not None:
        reading.add("picture that cannot be read", place, f"its picture {fault}")
        return None
    return cell


def _in_folder(name: str, folder: Path) -> tuple[bytes, str | None]:
    """The bytes of a file, and why they cannot be had."""
    try:
        home, path = folder.resolve(), (folder / name).resolve()
        if not path.is_relative_to(home):
            return b"", f"{excerpt(name)} lies outside of the data's folder"
        if not path.is_file():
            return b"", f"{excerpt(name)} is no file there"
        if path.stat().st_size > MOST_BYTES:
            return b"", f"{excerpt(name)} is over {MOST_BYTES >> 20} MiB"
        return path.read_bytes(), None
    except (OSError, ValueError) as error:
        return b"", f"{excerpt(name)}: {getattr(error, 'strerror', None) or error}"
