"""FlagEmbedding and Tevatron training files (jsonl): each row a query with its positives and
negatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from whet.data.findings import excerpt
from whet.data.readers.beir import text_of
from whet.data.readers.columns import Roles, records_of
from whet.data.readers.lines import json_rows
from whet.data.readers.records import Judgment, Reading, Record, Source, Text
from whet.data.text import id_of

_FLAG = Roles("query", ("pos",), ("neg",), None)
_SIDES = (("positive", 1), ("negative", 0))


def kind_of(path: Path) -> str | None:
    """By the fields of the first row: "FlagEmbedding", "Tevatron", else None."""
    _, first = next(json_rows(path, reading := Reading(), reading.file(path.name)), (0, {}))
    if "query" in first and "pos" in first:
        return "FlagEmbedding"
    tevatron = {"positive_passages", "positive_document_ids"}
    return "Tevatron" if "query_id" in first and tevatron & set(first) else None


def source_of(kind: str, root: Path, splits: dict[str, list[Path]]) -> Source:
    """The files as a source; Tevatron's id form takes corpus.jsonl[.gz] from the same folder."""
    files = [path for paths in splits.values() for path in paths]
    if kind == "FlagEmbedding":
        read = partial(_read_flag, root, splits)
        return Source(kind=kind, root=root, files=tuple(files), read=read, repeats="fine")
    beside = (root / "corpus.jsonl", root / "corpus.jsonl.gz")
    corpus = next((path for path in beside if path.is_file()), None)
    return Source(
        kind=kind,
        root=root,
        files=(*files, *([corpus] if corpus else [])),
        read=partial(_read_tevatron, root, splits, corpus),
        repeats="same text",
        corpus_name=corpus.name if corpus else "corpus.jsonl, which is missing",
    )


def _read_flag(root: Path, splits: dict[str, list[Path]], reading: Reading) -> Iterator[Record]:
    for split, path, base in _files(root, splits, reading):
        yield from records_of(json_rows(path, reading, base), _FLAG, split, reading)


def _read_tevatron(
    root: Path, splits: dict[str, list[Path]], corpus: Path | None, reading: Reading
) -> Iterator[Record]:
    if corpus is not None:
        for place, row in json_rows(corpus, reading, reading.file(corpus.name)):
            yield from _document(row, reading, place)
    for split, path, base in _files(root, splits, reading):
        for place, row in json_rows(path, reading, base):
            yield from _tevatron_row(row, split, reading, place)


def _files(
    root: Path, splits: dict[str, list[Path]], reading: Reading
) -> Iterator[tuple[str, Path, int]]:
    for split, paths in splits.items():
        for path in paths:
            name = path.relative_to(root).as_posix()
            yield reading.split(split, name), path, reading.file(name)


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
            document = list(_document(passage, reading, place))
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


def _document(row: Any, reading: Reading, place: int) -> Iterator[Text]:
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
