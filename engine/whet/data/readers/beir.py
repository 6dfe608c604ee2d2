"""BEIR folders: corpus.jsonl, queries.jsonl (each also .gz), qrels/<split>.tsv."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from whet.data.findings import excerpt
from whet.data.readers.lines import json_rows, numbered_lines
from whet.data.readers.records import Judgment, Reading, Record, Source, Text
from whet.data.text import id_of

# a first line is a header if its fields are among these, not because its score is no number: that
# is a bad row
_HEADER = {
    *("query-id", "query_id", "queryid", "query", "qid", "topic", "iter", "iteration", "q0"),
    *("corpus-id", "corpus_id", "corpusid", "doc-id", "doc_id", "docid", "doc", "did", "docno"),
    *("document-id", "document_id", "score", "relevance", "rel", "label", "grade", "judgment"),
}
_WHOLE = re.compile(r"-?[0-9]{1,10}(\.0{1,10})?")


def source_of(root: Path) -> Source | None:
    """The folder as a source, or None where it has no corpus.jsonl or corpus.jsonl.gz."""
    corpus, queries = _file(root, "corpus"), _file(root, "queries")
    if corpus is None:
        return None
    qrels = sorted(path for path in (root / "qrels").glob("*.tsv") if path.is_file())
    files = tuple(path for path in (corpus, queries, *qrels) if path is not None)
    return Source(
        kind="BEIR folder",
        root=root,
        files=files,
        read=partial(_read, root, corpus, queries, qrels),
        corpus_name=corpus.name,
        queries_name=queries.name if queries else "queries.jsonl, which is missing",
    )


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


def qrel_rows(path: Path, split: str, reading: Reading, base: int) -> Iterator[Judgment]:
    """Judgments of one file: `query doc relevance` (BEIR) or `query iteration doc relevance`
    (TREC).

    Fields are split at tabs where the line has one, else at spaces; spaces around them are taken
    off, other white space is part of an id.
    """
    for place, line in numbered_lines(path, reading, base):
        fields = line.split("\t") if "\t" in line else [f for f in line.split(" ") if f]
        if not fields or (
            place == base + 1 and _HEADER.issuperset(f.strip().lower() for f in fields)
        ):
            continue
        if len(fields) not in (3, 4):
            what = f"{len(fields)} fields, not 3 (BEIR) or 4 (TREC): {excerpt(line)}"
            reading.add("bad judgment", place, what)
            continue
        ends = [field.strip(" ") for field in (fields[0], fields[-2], fields[-1])]
        judgment = judgment_of(ends, split, reading, place)
        if judgment is not None:
            yield judgment


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


def _file(root: Path, stem: str) -> Path | None:
    paths = (root / f"{stem}.jsonl", root / f"{stem}.jsonl.gz")
    return next((path for path in paths if path.is_file()), None)


def _read(
    root: Path, corpus: Path, queries: Path | None, qrels: list[Path], reading: Reading
) -> Iterator[Record]:
    yield from _texts(corpus, "corpus", reading)
    if queries is not None:
        yield from _texts(queries, "queries", reading)
    for path in qrels:
        name = path.relative_to(root).as_posix()
        split = reading.split(path.stem, name)
        yield from qrel_rows(path, split, reading, reading.file(name))


def _texts(path: Path, table: str, reading: Reading) -> Iterator[Text]:
    for place, row in json_rows(path, reading, reading.file(path.name)):
        record = beir_text(row, table, reading, place)
        if record is not None:
            yield record


def beir_text(row: dict[str, Any], table: str, reading: Reading, place: int) -> Text | None:
    """The document or query of one row (`_id` or `id`, `title`, `text`), or None if unusable."""
    raw = row["_id"] if "_id" in row else row.get("id")
    id_ = id_of(raw)
    if raw is None:
        reading.add("missing field", place, f"no '_id', only {excerpt(list(row))}")
    elif id_ is None:
        reading.add("bad id", place, f"id {excerpt(raw)}")
    else:
        text = text_of(row, "text", reading, place)
        return None if text is None else Text(table, id_, text, place)
    return None
