"""What every reader yields, and what it reads with: three records, one by one or as columns, the
places they came from, the findings.

Shape suffix: M records.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from whet.data.findings import Findings, excerpt
from whet.data.text import hash64, text_fault
from whet.printable import printable
from whet.processes.crew import Crew
from whet.storage.blocks import JUDGMENTS, SCORES, TEXTS, rows_as

_LINE_BITS = 40  # a place is file number << 40 | line number, one int64


class Text(NamedTuple):
    """A document or a query. `table` is "corpus" or "queries"; `place` says where it was read.

    `payload` are the bytes of a picture, whose text stands beside it and may be empty. With a
    `label` the documents of that label are relevant to it, where it is a query, of a `split`.
    """

    table: str
    id: str
    text: str
    place: int
    payload: bytes | None = None
    label: str | None = None
    split: str = ""


def labelled(row: Text, split: str) -> Iterator[Text]:
    """A text or picture that may have a class: a document where it is of train, and where it has a
    class a query of its split, too, for which the others of its class are relevant.
    """
    if split == "train":
        yield row._replace(table="corpus")
    if row.label is not None:
        yield row._replace(table="queries", split=split)


class Judgment(NamedTuple):
    """How relevant a document is to a query in one split (0 or less: judged not relevant)."""

    split: str
    query_id: str
    doc_id: str
    relevance: int
    place: int


class TeacherScore(NamedTuple):
    """What a teacher says of a document of a query, beside one of its positives: of two documents
    of one positive the difference counts. The positive itself has one, too.
    """

    query_id: str
    positive_id: str
    doc_id: str
    score: float
    place: int


class Columns(NamedTuple):
    """Records of one kind as whet.storage.blocks keeps them, and how many characters each counts.

    Of texts the place, int64, and `hash64` of the id, uint64; of others both are empty.
    """

    rows: pa.RecordBatch
    char_M: np.ndarray
    place_M: np.ndarray
    hash_M: np.ndarray


class PackedRecords(NamedTuple):
    """Many records in the order they were read, as columns: texts by their table, judgments by
    their split.
    """

    texts: dict[str, Columns]
    judgments: dict[str, Columns]
    scores: Columns | None


Record = Text | Judgment | TeacherScore


def chars_of(record: Record) -> int:
    """For how many characters a record counts where blocks are filled."""
    if isinstance(record, Text):
        return len(record.text)
    if isinstance(record, Judgment):
        return len(record.query_id) + len(record.doc_id)
    return sum(map(len, record[:3]))


def row_of(record: Record) -> tuple[object, ...]:
    """The record as a row of the file that keeps it."""
    if isinstance(record, Text):
        return record.id, record.text
    return record[1:] if isinstance(record, Judgment) else record


def packed(records: Iterable[Record]) -> PackedRecords:
    """Records as columns."""
    texts: dict[str, list[Text]] = defaultdict(list)
    judgments: dict[str, list[Judgment]] = defaultdict(list)
    scores: list[TeacherScore] = []
    for record in records:
        if isinstance(record, Text):
            texts[record.table].append(record)
        elif isinstance(record, Judgment):
            judgments[record.split].append(record)
        else:
            scores.append(record)
    return PackedRecords(
        {table: _columns(TEXTS, rows) for table, rows in texts.items()},
        {split: _columns(JUDGMENTS, rows) for split, rows in judgments.items()},
        _columns(SCORES, scores) if scores else None,
    )


def _columns(schema: pa.Schema, records: Sequence[Record]) -> Columns:
    texts = [record for record in records if isinstance(record, Text)]
    return Columns(
        rows_as(schema, list(map(row_of, records))),
        np.array(list(map(chars_of, records)), np.int64),
        np.array([text.place for text in texts], np.int64),
        hash64(text.id for text in texts),
    )


@dataclass
class Reading:
    """One pass over a source: collects findings, and numbers the files so that a place is one
    integer. Large files are read by the `crew`, if there is one.
    """

    findings: Findings = field(default_factory=Findings)
    files: list[tuple[str, str]] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    crew: Crew | None = None

    def file(self, name: str, unit: str = "line") -> int:
        """The place of line 0 of a new file; add a line (or row) number to it."""
        self.files.append((printable(name), unit))
        return (len(self.files) - 1) << _LINE_BITS

    def split(self, name: str, file: str) -> str:
        """Announce a split, so that an empty one is noticed; `file` is named then. Returns its name
        as it can be printed: a file's may hold anything.
        """
        name = printable(name)
        self.splits.setdefault(name, file)
        return name

    def say(self, place: int) -> str:
        """A place in words: `corpus.jsonl line 17`."""
        name, unit = self.files[place >> _LINE_BITS]
        number = place & ((1 << _LINE_BITS) - 1)
        return f"{name} {unit} {number:,}" if number else name

    def add(self, kind: str, place: int, what: str) -> None:
        """One finding at a place."""
        self.findings.add(kind, self.say(place), what)

    def usable(self, text: object, place: int, name: str) -> bool:
        """True if `text` can be used; else the reason is noted, naming it `name`."""
        fault = text_fault(text)
        if fault is None:
            return True
        what = f"{name} is empty" if fault == "empty text" else f"{name} is {excerpt(text)}"
        if fault.startswith("text with"):
            what = f"{name} holds a NUL or half a surrogate pair: {excerpt(text)}"
        self.add(fault, place, what)
        return False


@dataclass(frozen=True)
class Source:
    """Data of a known format, not read yet.

    `files` decide its content (relative to `root`), or `fingerprint` where there are none.
    `repeats` says what an id given twice means: "refuse", "same text" (fine when the texts agree)
    or "fine". `left_out` are files of the folder that are not read, by their names.
    `passages`: long documents are cut. `pictures`: some rows are pictures. `labelled`: what is
    relevant follows from the labels of the rows.
    """

    kind: str
    root: Path
    files: tuple[Path, ...]
    read: Callable[[Reading], Iterator[Record | PackedRecords]]
    repeats: str = "refuse"
    fingerprint: str = ""
    corpus_name: str = "the corpus"
    queries_name: str = "the queries"
    left_out: tuple[str, ...] = ()
    passages: bool = False
    pictures: bool = False
    labelled: bool = False


def hidden(path: Path) -> bool:
    """True for what a system leaves beside the files: .DS_Store, ._name, __MACOSX, Thumbs.db."""
    left = ("thumbs.db", "desktop.ini", "__macosx")
    return path.name.startswith((".", "~$")) or path.name.lower() in left


def files_under(root: Path) -> list[Path]:
    """The files of a folder at any depth, in order, without what systems leave there."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(hidden(Path(part)) for part in path.relative_to(root).parts)
    )
