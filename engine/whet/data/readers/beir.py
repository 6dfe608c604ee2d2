"""BEIR folders: a corpus, queries and judgments (qrels), each a file of rows or a folder of them.

`corpus.jsonl`, `queries.jsonl` and `qrels/train.tsv` as BEIR has them; the same in parquet or csv,
as a clone of a hub dataset lays them out (`corpus/`, `queries/`, `data/`); TREC's topics and qrels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from whet.config import DataConfig
from whet.data.findings import excerpt
from whet.data.readers.lines import Row, numbered_lines
from whet.data.readers.records import (
    Judgment,
    PackedRecords,
    Reading,
    Record,
    Source,
    Text,
    files_under,
    hidden,
)
from whet.data.readers.rows.kinds import is_row_file, open_table, rows_of, stem_of
from whet.data.readers.rows.opened import records_of_rows
from whet.data.readers.trec_topics import is_topics, topics_in
from whet.data.readers.values import (
    ID_NAMES,
    IMAGE,
    NO_EXTRA,
    Extra,
    is_picture,
    judgment_of,
    table_row,
)
from whet.errors import ConfigError
from whet.printable import printable
from whet.storage.pictures import ENDINGS

# a first line is a header if its fields are among these, not because its score is no number: that
# is a bad row
_HEADER = {
    *("query-id", "query_id", "queryid", "query", "qid", "topic", "iter", "iteration", "q0"),
    *("corpus-id", "corpus_id", "corpusid", "doc-id", "doc_id", "docid", "doc", "did", "docno"),
    *("document-id", "document_id", "score", "relevance", "rel", "label", "grade", "judgment"),
}
_QUERY_IDS = ("query-id", "query_id", "qid", "queryid", "query", "topic")
_DOC_IDS = (
    *("corpus-id", "corpus_id", "doc-id", "doc_id", "docid", "docno", "document-id", "pid"),
    *("document_id", "corpusid", "did", "doc"),
)
_GRADES = ("score", "relevance", "rel", "label", "grade", "judgment")
_CORPUS = re.compile(r"(corpus|collection|documents|docs|passages)$", re.IGNORECASE)
_QUERIES = re.compile(r"(queries|topics)([-_.][\w.-]+)?$", re.IGNORECASE)
_QRELS = re.compile(r"(?P<before>[\w.-]+[-_.])?qrels?([-_.](?P<after>[\w.-]+))?$", re.IGNORECASE)
_PIECE = re.compile(r"[-_.]\d+[-_.]of[-_.]\d+$")
_IDS = {*ID_NAMES, "column 1"}
_LINES = (".tsv", ".txt", ".trec", ".qrels", ".qrel")  # files of judgments a line each
LOOKED_AT = 50  # rows, for pictures
_JUDGED = ("qrels", "default", "data")  # folders


@dataclass(frozen=True)
class _Parts:
    """The files of each part; of the judgments by split."""

    corpus: tuple[Path, ...]
    queries: tuple[Path, ...]
    qrels: tuple[tuple[str, Path], ...]


def source_of(root: Path, config: DataConfig) -> Source | None:
    """The folder as a source, or None where it has no corpus of documents with ids.

    Rows with an `image` are pictures, where one of the first names a file or is bytes. With
    `data.label` queries have the documents of their label as relevant ones, and each document is a
    query of the split train, too.
    """
    parts = _Parts(_table(root, _CORPUS), _table(root, _QUERIES), _qrels(root))
    corpus, queries = parts.corpus, parts.queries
    if not corpus or not _has_ids(corpus[0], judged=bool(parts.qrels)):
        return None
    label = None if config.label == "off" else config.label
    if label is not None and parts.qrels:
        raise ConfigError(
            f"{printable(root)}: has judgments ({parts.qrels[0][1].name}), which say what is "
            "relevant. Leave out data.label."
        )
    pictures = any(map(_holds_pictures, (*corpus, *queries)))
    beside = files_under(root) if pictures else []
    said = ["pictures"] * pictures + [f"label {label}"] * (label is not None)
    return Source(
        kind="BEIR folder",
        root=root,
        files=(
            *(*corpus, *queries, *(path for _, path in parts.qrels)),
            *(path for path in beside if path.suffix.lower() in ENDINGS),
        ),
        read=partial(_read, root, parts, label=label, pictures=pictures),
        fingerprint=" ".join(said),
        corpus_name=_name(root, corpus),
        queries_name=_name(root, queries) if queries else "queries.jsonl, which is missing",
        repeats="refuse",
        pictures=pictures,
        labelled=label is not None,
    )


def _name(root: Path, files: tuple[Path, ...]) -> str:
    one = files[0] if len(files) == 1 else files[0].parent
    return one.name if one == root else one.relative_to(root).as_posix()


def _table(root: Path, stem: re.Pattern[str]) -> tuple[Path, ...]:
    """The files of one table: beside each other in the folder, or in a folder of the name.

    Of the same name with several endings, one is read: jsonl before the others.
    """
    files = [path for path in _visible(root) if path.is_file() and stem.match(stem_of(path))]
    files = [path for path in files if is_row_file(path) or is_topics(path)]
    if not files:
        folders = [path for path in _visible(root) if path.is_dir() and stem.match(path.name)]
        files = [path for folder in folders for path in _visible(folder) if is_row_file(path)]
    chosen: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(files, key=lambda path: (".jsonl" not in path.name.lower(), len(path.name))):
        key = (path.parent, stem_of(path))
        kept = chosen.setdefault(key, [])
        if not kept or _ending(kept[0]) == _ending(path):
            kept.append(path)
    return tuple(sorted(path for kept in chosen.values() for path in kept))


def _ending(path: Path) -> str:
    return "".join(path.suffixes[-2:]) if path.suffix.lower() == ".gz" else path.suffix


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not hidden(path))


def _holds_pictures(path: Path) -> bool:
    """Whether one of the first rows of a file of documents or queries is a picture."""
    return any(is_picture(cell, path.parent) for cell in _images(path))


def _images(path: Path) -> list[object]:
    """What the first rows of such a file have in the column of pictures."""
    if is_topics(path):
        return []
    rows = islice(rows_of(path, "", Reading()), LOOKED_AT)
    return [row[IMAGE] for _, row in rows if row.get(IMAGE) is not None]


def _has_ids(path: Path, *, judged: bool) -> bool:
    """True where the rows have an id, or a first line that is at fault. Documents with a `docid`
    and nobody's judgments are Tevatron's, to be read with the training file beside them.
    """
    if is_topics(path):
        return False
    _, first = next(rows_of(path, "", Reading()), (0, {}))
    if "docid" in first and "_id" not in first and not judged:
        return False
    return not first or ".jsonl" in path.name.lower() or not _IDS.isdisjoint(first)


def _qrels(root: Path) -> tuple[tuple[str, Path], ...]:
    """(split, file) of the judgments: in qrels/, default/ or data/, else files named qrels here."""
    folders = {path.name.lower(): path for path in _visible(root) if path.is_dir()}
    folder = next((folders[name] for name in _JUDGED if name in folders), None)
    if folder is not None:
        files = [path for path in _visible(folder) if path.is_file() and _judges(path)]
        return tuple((_split(path), path) for path in files)
    found = []
    for path in _visible(root):
        match = _QRELS.match(stem_of(path)) if path.is_file() and _judges(path) else None
        if match is not None or path.suffix.lower() in (".qrels", ".qrel"):
            split = (match["after"] or match["before"] or "") if match else stem_of(path)
            found.append((split.strip("-_.") or "train", path))
    return tuple(found)


def _split(path: Path) -> str:
    """train of train.tsv and of its piece train-00000-of-00002.parquet."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return _PIECE.sub("", Path(name).stem)


def _judges(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(_LINES) or is_row_file(path)


def _read(
    root: Path, parts: _Parts, reading: Reading, *, label: str | None, pictures: bool
) -> Iterator[Record | PackedRecords]:
    for table, files in (("corpus", parts.corpus), ("queries", parts.queries)):
        for path in files:
            name = path.relative_to(root).as_posix()
            if not pictures and _images(path):
                what = f"{IMAGE!r} holds neither bytes nor paths of files in the folder"
                reading.findings.add("pictures not read", printable(name), what)
            extra = Extra(path.parent if pictures else None, label)
            for record in texts_in(path, name, table, reading, extra):
                yield record
                if label is not None and table == "corpus" and isinstance(record, Text):
                    # what is learned from: each document asks for the others of its label
                    yield record._replace(table="queries", split="train")
    for split, path in parts.qrels:
        name = path.relative_to(root).as_posix()
        split = reading.split(split, name)
        if path.name.lower().removesuffix(".gz").endswith(_LINES):
            yield from qrel_rows(path, split, reading, reading.file(name))
        else:
            for place, row in rows_of(path, name, reading):
                judgment = judgment_of(judged_fields(row), split, reading, place)
                if judgment is not None:
                    yield judgment


def texts_in(
    path: Path, name: str, table: str, reading: Reading, extra: Extra = NO_EXTRA
) -> Iterator[Record | PackedRecords]:
    """The documents or queries of one file."""
    if is_topics(path):
        yield from topics_in(path, name, reading)
        return
    make = partial(_texts_of, table=table, extra=extra)
    opened = open_table(path)
    base = reading.file(name, opened.unit)
    yield from records_of_rows(opened, make, reading, base)


def _texts_of(rows: Iterable[Row], *, table: str, extra: Extra, reading: Reading) -> Iterator[Text]:
    for place, row in rows:
        if "column 1" in row and len(row) == 2:  # a tsv without a header: id and text
            row = {"_id": row["column 1"], "text": row.get("column 2")}
        record = table_row(row, table, reading, place, extra=extra)
        if record is not None:
            yield record


def judged_fields(row: dict[str, Any]) -> list[object]:
    """Query id, document id and grade of a row of judgments."""
    return [
        next((row[name] for name in names if name in row), None)
        for names in (_QUERY_IDS, _DOC_IDS, _GRADES)
    ]


def _places(header: list[str]) -> tuple[int, int, int] | None:
    """Where the header has query id, document id and grade; None unless it names all three."""
    found = [
        next((header.index(name) for name in names if name in header), -1)
        for names in (_QUERY_IDS, _DOC_IDS, _GRADES)
    ]
    return None if -1 in found else (found[0], found[1], found[2])


def qrel_rows(path: Path, split: str, reading: Reading, base: int) -> Iterator[Judgment]:
    """Judgments of one file: `query doc relevance` (BEIR) or `query iteration doc relevance`
    (TREC); in the order of its header, where the header names all three.

    Fields are split at tabs where the line has one, else at spaces; spaces around them are taken
    off, other white space is part of an id.
    """
    at = (0, -2, -1)
    for place, line in numbered_lines(path, reading, base):
        fields = line.split("\t") if "\t" in line else [f for f in line.split(" ") if f]
        if not fields or (
            place == base + 1 and _HEADER.issuperset(f.strip().lower() for f in fields)
        ):
            at = _places([f.strip().lower() for f in fields]) or at
            continue
        if len(fields) not in (3, 4):
            what = f"{len(fields)} fields, not 3 (BEIR) or 4 (TREC): {excerpt(line)}"
            reading.add("bad judgment", place, what)
            continue
        ends = [fields[column].strip(" ") for column in at]
        judgment = judgment_of(ends, split, reading, place)
        if judgment is not None:
            yield judgment
