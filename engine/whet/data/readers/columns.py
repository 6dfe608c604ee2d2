"""Pairs and triplets: rows with a query column, positive columns, and perhaps negative ones and a
label.
 Columns go by name where the names are known, else by sentence-transformers' rule of order: first
the query, then the positive, the rest negatives. The distinct texts become queries and documents
with ids made from the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from whet.data.findings import excerpt
from whet.data.readers.beir import whole_number
from whet.data.readers.records import Judgment, Reading, Record, Text
from whet.data.text import text_id
from whet.errors import DataError

Rows = Iterable[tuple[int, dict[str, Any]]]

QUERY_NAMES = ("query", "anchor", "question", "queries", "query_text")
_POSITIVE = re.compile(
    r"(positives?|pos|answers?|documents?|doc|passage|response)(_?\d+)?$", re.IGNORECASE
)
_NEGATIVE = re.compile(r"(negatives?|neg)(_?\d+)?$", re.IGNORECASE)
LABEL_NAMES = ("label", "labels", "score", "scores", "relevance", "grade")


@dataclass(frozen=True)
class Roles:
    """Which column is what."""

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    label: str | None


def known_name(name: str) -> bool:
    """True if a column of this name has a meaning here.

    >>> known_name("Question"), known_name("negative_3"), known_name("url")
    (True, True, False)
    """
    low = name.lower()
    fixed = low in QUERY_NAMES or low in LABEL_NAMES
    return fixed or bool(_POSITIVE.match(name) or _NEGATIVE.match(name))


def roles_of(columns: Sequence[str], reading: Reading, place: int) -> Roles:
    """The role of each column; by order where no query or no positive column is known by name, and
    said so.
    """
    label = next((name for name in columns if name.lower() in LABEL_NAMES), None)
    query = next((name for known in QUERY_NAMES for name in columns if name.lower() == known), None)
    positives = tuple(name for name in columns if _POSITIVE.match(name))
    negatives = tuple(name for name in columns if _NEGATIVE.match(name))
    if query is not None and positives:
        return Roles(query, positives, negatives, label)
    texts = [name for name in columns if name != label]
    if len(texts) < 2:
        raise DataError(
            f"{reading.say(place)}: has the columns {excerpt(list(columns), 200)}, pairs need two."
            " Name one of them query and one positive."
        )
    # A guess, so it is told: the right names make it sure.
    reading.add(
        "columns by order",
        place,
        f"taken {excerpt(texts[0])} as the query, {excerpt(texts[1])} as the positive"
        + (f", {excerpt(texts[2:], 200)} as negatives" if texts[2:] else ""),
    )
    return Roles(texts[0], (texts[1],), tuple(texts[2:]), label)


def records_of(rows: Rows, roles: Roles, split: str, reading: Reading) -> Iterator[Record]:
    """Texts and judgments of rows (place, column -> value). A positive or negative may be a list of
    texts.
    """
    for place, row in rows:
        query = row.get(roles.query)
        if query is None:
            reading.add("missing field", place, f"no {roles.query!r}, only {excerpt(list(row))}")
            continue
        relevance = _relevance(row, roles, reading, place)
        positives = list(_texts_in(row, roles.positives, reading, place))
        if not any(row.get(name) for name in roles.positives):
            fields = " or ".join(map(repr, roles.positives))
            reading.add("missing field", place, f"no {fields}, only {excerpt(list(row))}")
        if (
            not reading.usable(query, place, repr(roles.query))
            or relevance is None
            or not positives
        ):
            continue
        graded = [(text, relevance) for text in positives]
        graded += [(text, 0) for text in _texts_in(row, roles.negatives, reading, place)]
        yield from judged(query, graded, split, place)


def judged(
    query: str, graded: Iterable[tuple[str, int]], split: str, place: int
) -> Iterator[Record]:
    """One query and its documents, with ids made from their texts."""
    query_id = text_id("q", query)
    yield Text("queries", query_id, query, place)
    for text, relevance in graded:
        doc_id = text_id("d", text)
        yield Text("corpus", doc_id, text, place)
        yield Judgment(split, query_id, doc_id, relevance, place)


def _relevance(row: dict[str, Any], roles: Roles, reading: Reading, place: int) -> int | None:
    if roles.label is None:
        return 1
    relevance = whole_number(row.get(roles.label))
    if relevance is None:
        what = f"{roles.label} {excerpt(row.get(roles.label))} is not a whole number"
        reading.add("bad relevance", place, what)
    return relevance


def _texts_in(
    row: dict[str, Any], names: tuple[str, ...], reading: Reading, place: int
) -> Iterator[str]:
    """The usable texts of some columns; a null is no text, anything else unusable is noted."""
    for name in names:
        value = row.get(name)
        for text in value if isinstance(value, list) else [value]:
            if text is not None and reading.usable(text, place, repr(name)):
                yield text
