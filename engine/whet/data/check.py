"""What `whet check` prints: findings, counts, text lengths and a few examples of a dataset.

Shape suffixes: N rows of a table, C bytes of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from whet.data.findings import Findings, excerpt
from whet.data.load import Dataset, load_dataset
from whet.data.positives import own_documents
from whet.data.table import TextTable
from whet.data.text import UNSPACED_MARKS, UNSPACED_RANGES
from whet.printable import printable
from whet.types import Qrels

EXAMPLES = 3
_SPACE = np.zeros(256, bool)
_SPACE[list(b" \t\n\r\v\f\x1c\x1d\x1e\x1f")] = True
# Of a code point: letters and marks are those of scripts without spaces
_OTHER, _WHITE, _LETTER, _MARK = range(4)


@dataclass(frozen=True)
class TableCounts:
    """Rows of a table, how many of them repeat an earlier row's text or picture, how many are
    pictures, and words per text at some percentiles.
    """

    rows: int
    repeats: int
    pictures: int
    words: dict[str, int]


@dataclass(frozen=True)
class SplitCounts:
    """Judged queries, judgments, positives per judged query, and judgments of each grade."""

    queries: int
    judgments: int
    mean_positives: float
    most_positives: int
    grades: dict[int, int]


@dataclass(frozen=True)
class Check:
    """A dataset looked through. `findings.problems == 0` means it can be used as it is; printing
    tells all.
    """

    dataset: Dataset
    findings: Findings
    corpus: TableCounts
    queries: TableCounts
    splits: dict[str, SplitCounts]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        data = self.dataset
        lines = [f"{printable(data.path)}: {data.kind}", _table_line("documents", self.corpus)]
        if data.home_N is not None:
            documents = len(np.unique(data.home_N))
            lines[1:] = [_table_line("passages", self.corpus), f"  documents  {documents:>9,}"]
        if self.queries.rows:
            lines.append(_table_line("queries", self.queries))
        lines += [_split_line(name, counts) for name, counts in self.splits.items()]
        lines += ["", str(self.findings)]
        for name, qrels in list(data.splits.items())[:EXAMPLES]:
            lines += ["", f"examples of {name}", *_examples(data, qrels)]
        if not data.splits:
            rows = range(min(EXAMPLES, len(data.corpus)))
            lines += ["", "examples", *(f"  {_shown(data.corpus, row, 100)}" for row in rows)]
        return "\n".join(lines)


def check_dataset(path: str, *, cache_dir: Path | None = None, **options: Any) -> Check:
    """Read the dataset, leaving out what is at fault, and count. DataError if nothing can be read
    from it at all. `options` are those of DataConfig.
    """
    data = load_dataset(path, **{**options, "on_problem": "drop"}, cache_dir=cache_dir)
    findings = Findings.from_dict(data.findings.to_dict())
    _find_leaks(data, findings)
    _find_own(data, findings)
    return Check(
        dataset=data,
        findings=findings,
        corpus=_count_table(data.corpus),
        queries=_count_table(data.queries),
        splits={name: _count_split(qrels) for name, qrels in data.splits.items()},
    )


def word_counts(table: TextTable) -> np.ndarray:
    """Words of each text, int64 [N], as whet.data.text.WORD has them: split at white space; in
    scripts without spaces, such as Chinese, each letter counts as one.
    """
    counts = [_words(array) for array in table.text_arrays()]
    return np.concatenate(counts) if counts else np.empty(0, np.int64)


def _words(array: Any) -> np.ndarray:
    """Counted on the bytes or code points: 10 times as fast as splitting strings."""
    _, offset_buffer, data_buffer = array.buffers()
    first = array.offset
    offset_N1 = np.frombuffer(offset_buffer, np.int32)[first : first + len(array) + 1].astype(
        np.int64
    )
    data_C = np.frombuffer(data_buffer, np.uint8)[offset_N1[0] : offset_N1[-1]]
    offset_N1 -= offset_N1[0]
    if data_C.max(initial=0) < 0x80:
        starts_C = _begins(~_SPACE[data_C], offset_N1)
    else:
        code_C = np.frombuffer(data_C.tobytes().decode().encode("utf-32-le"), np.uint32)
        leads_C = (data_C & 0xC0) != 0x80  # the first byte of each character
        offset_N1 = np.concatenate([[0], np.cumsum(leads_C)])[offset_N1]
        kind_C = _kinds()[code_C]
        starts_C = _begins(kind_C == _OTHER, offset_N1)
        starts_C |= (kind_C == _LETTER) | _begins(kind_C >= _LETTER, offset_N1)
    return np.diff(np.searchsorted(np.flatnonzero(starts_C), offset_N1))


def _begins(inside_C: np.ndarray, offset_N1: np.ndarray) -> np.ndarray:
    """Where a run of True begins; none goes on from one text into the next."""
    begins_C = inside_C.copy()
    begins_C[1:] &= ~inside_C[:-1]
    first_N = offset_N1[:-1][offset_N1[:-1] < len(inside_C)]  # an empty text at the end has none
    begins_C[first_N] = inside_C[first_N]
    return begins_C


@cache
def _kinds() -> np.ndarray:
    """What each code point is to a word, uint8 [0x110000]."""
    kinds = np.full(0x110000, _OTHER, np.uint8)
    kinds[[code for code in range(0x3001) if chr(code).isspace()]] = _WHITE
    for first, last in UNSPACED_RANGES:
        kinds[first : last + 1] = _LETTER
    kinds[[ord(mark) for mark in UNSPACED_MARKS]] = _MARK
    return kinds


def _count_table(table: TextTable) -> TableCounts:
    words_N = word_counts(table)
    group_N = np.asarray(table.group_of_N())
    marks = {"median": 50, "90 %": 90, "99 %": 99, "most": 100}
    word_counts_M = (
        np.percentile(words_N, list(marks.values())) if len(words_N) else np.zeros(len(marks))
    )
    return TableCounts(
        rows=len(table),
        repeats=int((group_N != np.arange(len(group_N))).sum()),
        pictures=sum(
            payload is not None for payloads in table.payload_blocks() for payload in payloads
        ),
        words={
            name: round(value) for name, value in zip(marks, word_counts_M.tolist(), strict=True)
        },
    )


def _count_split(qrels: Qrels) -> SplitCounts:
    relevant = np.unique(qrels.relevant().query_rows_M, return_counts=True)[1]
    grades, counts = np.unique(qrels.relevance_M, return_counts=True)
    queries = len(qrels.query_rows)
    return SplitCounts(
        queries=queries,
        judgments=len(qrels),
        mean_positives=float(relevant.sum()) / queries,
        most_positives=int(relevant.max(initial=0)),
        grades=dict(zip(grades.tolist(), counts.tolist(), strict=True)),
    )


def _find_leaks(data: Dataset, findings: Findings) -> None:
    """Query texts in train that another split has too (after normalising)."""
    if "train" not in data.splits or len(data.splits) < 2:
        return
    group_Q = np.asarray(data.queries.group_of_N())
    train = np.unique(group_Q[data.splits["train"].query_rows])
    for name, qrels in data.splits.items():
        leaked = np.intersect1d(train, group_Q[qrels.query_rows])
        if name != "train" and len(leaked):
            text = excerpt(data.queries.text(int(leaked[0])))
            findings.add("query in train and in another split", f"split {name}", text)
            findings.more("query in train and in another split", len(leaked) - 1)


def _find_own(data: Dataset, findings: Findings) -> None:
    """Queries that are documents themselves, split by split."""
    for name, qrels in data.splits.items():
        own = int((own_documents(data.queries, data.corpus, qrels) >= 0).sum())
        if own:
            what = f"{own:,} queries are documents of the same id and text"
            findings.add("query that is a document", f"split {name}", what)


def _table_line(name: str, counts: TableCounts) -> str:
    kinds = [f"{counts.pictures:,} pictures"] if counts.pictures else []
    if counts.words["most"] or not counts.pictures:
        words = ", ".join(f"{mark} {count:,}" for mark, count in counts.words.items())
        kinds.append(f"words: {words}")
    if counts.repeats:
        what = "text" if counts.pictures < counts.rows else "picture"
        kinds.append(f"{counts.repeats:,} repeat the {what} of another")
    return f"  {name:<10} {counts.rows:>9,}   {'; '.join(kinds)}"


def _split_line(name: str, counts: SplitCounts) -> str:
    grades = ", ".join(f"{grade}: {count:,}" for grade, count in counts.grades.items())
    return (
        f"  split {name:<10} {counts.queries:,} queries, {counts.judgments:,} judgments"
        f" (by grade {grades}); {counts.mean_positives:.2f} positives a query,"
        f" at most {counts.most_positives:,}"
    )


def _examples(data: Dataset, qrels: Qrels) -> list[str]:
    """The first judgments of the first few queries."""
    lines = []
    for query in qrels.query_rows[:EXAMPLES].tolist():
        mine = qrels.only(qrels.query_rows_M == query)
        lines.append(f"  {printable(data.queries.id(query))}: {_shown(data.queries, query, 100)}")
        for doc, grade in list(zip(mine.doc_rows_M, mine.relevance_M, strict=True))[:2]:
            id_ = printable(data.corpus.id(int(doc)))
            lines.append(f"    {grade} {id_}: {_shown(data.corpus, int(doc), 90)}")
    return lines


def _shown(table: TextTable, row: int, limit: int) -> str:
    """A row's text, or that it is a picture."""
    item = table.items([row])[0]
    if isinstance(item, str):
        return excerpt(item, limit)
    return f"a picture, {excerpt(item.text, limit)}" if item.text else "a picture"
