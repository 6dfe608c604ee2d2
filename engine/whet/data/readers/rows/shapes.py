"""Rows of other tools, each a query with its positives and negatives: Tevatron, DPR, ms-swift,
MS MARCO. FlagEmbedding's and NeMo's inline rows are pairs like others (rows/pairs.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from whet.data.findings import excerpt
from whet.data.readers.records import Judgment, Reading, Record, Text
from whet.data.readers.rows.pairs import Rows, judged
from whet.data.readers.values import text_of
from whet.data.text import id_of

_SIDES = (("positive", 1), ("negative", 0))
_DPR = {"positive_ctxs": 1, "negative_ctxs": 0, "hard_negative_ctxs": 0}
_SWIFT = {"positive_messages": 1, "negative_messages": 0, "rejected_messages": 0}

RowReader = Callable[[dict[str, Any], str, Reading, int], Iterator[Record]]


def shape_of(columns: list[str]) -> str | None:
    """The tool whose rows have these columns: a key of SHAPES, else None."""
    return next((name for name, shape in SHAPES.items() if shape.suits(set(columns))), None)


@dataclass(frozen=True)
class RowShape:
    """How rows of one tool are known, which of their columns are read, and how."""

    suits: Callable[[set[str]], bool]
    read: frozenset[str]
    row: RowReader


def shaped_records(rows: Rows, shape: str, split: str, reading: Reading) -> Iterator[Record]:
    """Texts and judgments of rows of a known shape."""
    for place, row in rows:
        yield from SHAPES[shape].row(row, split, reading, place)


def _dpr_row(row: dict[str, Any], split: str, reading: Reading, place: int) -> Iterator[Record]:
    """`question` and lists of contexts, each with title and text."""
    graded = [
        (text, relevance)
        for name, relevance in _DPR.items()
        for passage in _list(row, name, reading, place)
        if (text := _passage_text(passage, name, reading, place)) is not None
    ]
    yield from _judged_row(row, "question", graded, split, reading=reading, place=place)


def _passage_text(passage: Any, name: str, reading: Reading, place: int) -> str | None:
    if isinstance(passage, dict):
        return text_of(passage, "text", reading, place)
    return passage if reading.usable(passage, place, f"a text of {name}") else None


def _swift_row(row: dict[str, Any], split: str, reading: Reading, place: int) -> Iterator[Record]:
    """`messages`, and lists of such conversations: each conversation is one text."""
    graded = []
    for name, relevance in _SWIFT.items():
        conversations = _list(row, name, reading, place)
        if conversations and isinstance(conversations[0], dict):
            conversations = [conversations]  # one conversation instead of a list of them
        for conversation in conversations:
            text = _words_of(conversation)
            if reading.usable(text, place, f"a conversation of {name}"):
                graded.append((str(text), relevance))
    asked = {"messages": _words_of(row.get("messages"))}
    yield from _judged_row(asked, "messages", graded, split, reading=reading, place=place)


def _words_of(conversation: Any) -> object:
    """What is said in a conversation, a turn a line; the value itself where it is none."""
    if not isinstance(conversation, list):
        return conversation
    turns = [turn.get("content") if isinstance(turn, dict) else turn for turn in conversation]
    words = [turn for turn in turns if isinstance(turn, str)]
    return "\n".join(words) if len(words) == len(turns) else turns


def _marco_row(row: dict[str, Any], split: str, reading: Reading, place: int) -> Iterator[Record]:
    """`query` and `passages` of two lists: passage_text and is_selected."""
    passages = row.get("passages")
    texts, chosen = (
        (passages.get("passage_text"), passages.get("is_selected"))
        if isinstance(passages, dict)
        else (None, None)
    )
    if not isinstance(texts, list) or not isinstance(chosen, list) or len(texts) != len(chosen):
        what = f"passages is {excerpt(passages)}, not passage_text and is_selected of one length"
        reading.add("missing field", place, what)
        return
    graded = [
        (text, int(bool(is_one)))
        for text, is_one in zip(texts, chosen, strict=True)
        if reading.usable(text, place, "a passage_text")
    ]
    if any(relevance for _, relevance in graded):  # a question that nobody could answer is none
        yield from _judged_row(row, "query", graded, split, reading=reading, place=place)


def _judged_row(
    row: dict[str, Any],
    name: str,
    graded: list[tuple[str, int]],
    split: str,
    *,
    reading: Reading,
    place: int,
) -> Iterator[Record]:
    query = row.get(name)
    if query is None:
        reading.add("missing field", place, f"no {name!r}")
    elif not any(relevance for _, relevance in graded):
        reading.add("missing field", place, "no positive")
    elif reading.usable(query, place, repr(name)):
        yield from judged(str(query), graded, split, place)


def _tevatron_row(
    row: dict[str, Any], split: str, reading: Reading, place: int
) -> Iterator[Record]:
    query_id, text = id_of(row.get("query_id")), row.get("query_text", row.get("query"))
    if query_id is None:
        kind = "bad id" if "query_id" in row else "missing field"
        reading.add(kind, place, f"query_id is {excerpt(row.get('query_id'))}")
        return
    if not reading.usable(text, place, "'query_text'"):
        return
    yield Text("queries", query_id, str(text), place)
    for side, relevance in _SIDES:
        for passage in _list(row, f"{side}_passages", reading, place):
            document = list(document_of(passage, reading, place))
            yield from document
            for doc in document:
                yield Judgment(split, query_id, doc.id, relevance, place)
        for raw in _list(row, f"{side}_document_ids", reading, place):
            doc_id = id_of(raw)
            if doc_id is None:
                reading.add("bad id", place, f"{side}_document_ids holds {excerpt(raw)}")
            else:
                yield Judgment(split, query_id, doc_id, relevance, place)


def _list(row: dict[str, Any], name: str, reading: Reading, place: int) -> list[Any]:
    value = row.get(name)
    if isinstance(value, list):
        return value
    if value is not None:
        reading.add("missing field", place, f"{name} is no list but {excerpt(value)}")
    return []


def document_of(row: Any, reading: Reading, place: int) -> Iterator[Text]:
    """A passage `docid, title?, text` or corpus row `docid, document_text`, at most one record."""
    if not isinstance(row, dict) or "docid" not in row:
        reading.add("missing field", place, f"no 'docid' in {excerpt(row)}")
        return
    doc_id = id_of(row["docid"])
    if doc_id is None:
        reading.add("bad id", place, f"docid {excerpt(row['docid'])}")
        return
    text = text_of(row, "document_text" if "document_text" in row else "text", reading, place)
    if text is not None:
        yield Text("corpus", doc_id, text, place)


SHAPES = {
    "Tevatron": RowShape(
        lambda columns: (
            "query_id" in columns and bool({"positive_passages", "positive_document_ids"} & columns)
        ),
        frozenset(
            {"query_id", "query", "query_text"}
            | {f"{side}_{what}" for side, _ in _SIDES for what in ("passages", "document_ids")}
        ),
        _tevatron_row,
    ),
    "DPR": RowShape(
        lambda columns: {"question", "positive_ctxs"} <= columns,
        frozenset({"question", *_DPR}),
        _dpr_row,
    ),
    "ms-swift": RowShape(
        lambda columns: {"messages", "positive_messages"} <= columns,
        frozenset({"messages", *_SWIFT}),
        _swift_row,
    ),
    "MS MARCO": RowShape(
        lambda columns: columns >= {"query", "passages"} and "positive" not in columns,
        frozenset({"query", "passages"}),
        _marco_row,
    ),
}
