"""Ids, texts and grades as rows hold them: taken where they can be used, else noted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from whet.data.findings import excerpt
from whet.data.readers.records import Judgment, Reading, Text
from whet.data.text import id_of

ID_NAMES = (
    *("_id", "id", "docid", "doc_id", "document_id", "pid", "qid", "query_id"),
    *("corpus-id", "corpus_id", "query-id", "docno", "doc-id", "document-id"),
)
TEXT_NAMES = (
    *("text", "contents", "content", "document_text", "passage", "body"),
    *("query", "question", "query_text"),
)
_WHOLE = re.compile(r"-?[0-9]{1,10}(\.0{1,10})?")


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


def table_row(row: dict[str, Any], table: str, reading: Reading, place: int) -> Text | None:
    """The document or query of one row (`_id` or `id`, `title`, `text`, or other usual names), or
    None if unusable.
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
        text = text_of(row, field, reading, place)
        return None if text is None else Text(table, id_, text, place)
    return None
