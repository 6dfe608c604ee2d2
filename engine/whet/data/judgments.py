"""From judgments that name ids, or from the labels of texts and pictures, to Qrels that name rows.

Shape suffixes: M judgments, A added ones, Q queries, N documents, S queries of a split.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from whet.data.findings import SHOWN_OF_A_KIND, excerpt
from whet.data.readers.records import Reading, Source, Text
from whet.data.readers.values import whole_number
from whet.data.table import TextTable
from whet.errors import DataError
from whet.printable import printable
from whet.storage.blocks import blocks_in, numbers_of
from whet.types import Qrels

NO_LABEL = -1
# A class of n pictures has n * n pairs: of so many pairs in a split fewer queries are kept, the
# same share of each class. All documents stay.
MOST_PAIRS_OF_TRAIN = 2 << 20
MOST_PAIRS_JUDGED = 8 << 20  # of other splits: each pair counts in a measure
HEADER = "query-id\tcorpus-id\tscore\n"  # of a file of judgments


def resolve(
    spool: Path, queries: TextTable, corpus: TextTable, *, source: Source, reading: Reading
) -> Qrels:
    """The judgments of one split (an Arrow file of query, doc, relevance, place) as rows.

    Unknown ids and judgments given twice go to the findings and are left out.
    """
    columns: list[np.ndarray] = []
    for batch in blocks_in(spool):
        query_ids, doc_ids = batch.column(0).to_pylist(), batch.column(1).to_pylist()
        relevance_M, place_M = numbers_of(batch.column(2)), numbers_of(batch.column(3))
        query_M, doc_M = queries.rows_of(query_ids), corpus.rows_of(doc_ids)
        lost_q, lost_d = np.flatnonzero(query_M < 0), np.flatnonzero(doc_M < 0)
        size = f"{source.queries_name} ({len(queries):,} queries)"
        _unknown("query", query_ids, place_M, lost_q, size, reading=reading)
        size = f"{source.corpus_name} ({len(corpus):,} docs)"
        _unknown("document", doc_ids, place_M, lost_d, size, reading=reading)
        # One unknown id costs one judgment, and is told; the others of its query stay.
        known_M = (query_M >= 0) & (doc_M >= 0)
        columns.append(np.stack([query_M, doc_M, relevance_M, place_M])[:, known_M])
        queries.give_back()
        corpus.give_back()
    rows_4M = np.concatenate(columns, axis=1) if columns else np.empty((4, 0), np.int64)
    columns.clear()
    return _sorted_once(rows_4M, queries, corpus, source=source, reading=reading)


def judgment_rows(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """(place, query id, document id, grade) of a file of judgments: a header or none, then three
    columns parted by tabs, as `whet label` and `whet mine audit` write them. DataError for a file
    that cannot be read and for a line that is no judgment.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{printable(path)} cannot be read ({printable(error)}). Give a file of judgments."
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and line.split("\t")[-1].strip() == "score"):
            continue
        cells = line.split("\t")
        grade = whole_number(cells[-1].strip())
        if len(cells) != 3 or grade is None:
            raise DataError(
                f"{printable(path)} line {number}: {excerpt(line)} is no judgment. Write query id, "
                "document id and a whole number, parted by tabs."
            )
        yield f"{printable(path)} line {number}", cells[0], cells[1], grade


def with_added(qrels: Qrels, path: Path, queries: TextTable, corpus: TextTable) -> Qrels:
    """The judgments and those of a file. Of two that differ the higher counts: who is relevant once
    is no negative. DataError for an id that the data lack.
    """
    rows = list(judgment_rows(path))
    query_A = queries.rows_of([row[1] for row in rows])
    doc_A = corpus.rows_of([row[2] for row in rows])
    for what, row_A, at in (("query", query_A, 1), ("document", doc_A, 2)):
        if len(lost := np.flatnonzero(row_A < 0)):
            place, name = rows[lost[0]][0], rows[lost[0]][at]
            raise DataError(
                f"{place}: {what} {excerpt(name)} is not in these data. Give a file of judgments "
                "of these, or leave data.added out."
            )
    grade_A = np.array([row[3] for row in rows], np.int64)
    columns = (qrels.query_rows_M, query_A), (qrels.doc_rows_M, doc_A), (qrels.relevance_M, grade_A)
    query_M, doc_M, grade_M = (np.concatenate(pair) for pair in columns)
    order = np.lexsort((-grade_M, doc_M, query_M))
    query_M, doc_M, grade_M = query_M[order], doc_M[order], grade_M[order]
    keep_M = np.ones(len(order), bool)
    keep_M[1:] = (query_M[1:] != query_M[:-1]) | (doc_M[1:] != doc_M[:-1])
    return Qrels(query_M[keep_M], doc_M[keep_M], grade_M[keep_M])


def _unknown(
    what: str,
    ids: list[str],
    place_M: np.ndarray,
    lost: np.ndarray,
    home: str,
    *,
    reading: Reading,
) -> None:
    word = "doc" if what == "document" else what
    for row in lost[:SHOWN_OF_A_KIND].tolist():
        reading.add(
            f"unknown {what}", int(place_M[row]), f"{word} {excerpt(ids[row])} is not in {home}"
        )
    if len(lost) > SHOWN_OF_A_KIND:
        reading.findings.more(f"unknown {what}", len(lost) - SHOWN_OF_A_KIND)


def _sorted_once(
    rows_4M: np.ndarray, queries: TextTable, corpus: TextTable, *, source: Source, reading: Reading
) -> Qrels:
    """Sort by query, document, and keep one judgment per pair.

    Judgments that were written down (repeats refused) must agree, and the first is kept; those
    implied by pairs and triplets may differ, and the highest is kept: who is a positive once is no
    negative.
    """
    implied = source.repeats != "refuse"
    query_M, doc_M, relevance_M, place_M = rows_4M
    rank_M = -relevance_M if implied else np.arange(len(query_M))
    # lexsort's last key leads: query, document, then the one to keep comes first of its pair.
    order = np.lexsort((rank_M, doc_M, query_M))
    query_M, doc_M, relevance_M, place_M = rows_4M[:, order]
    again_M = np.zeros(len(order), bool)
    again_M[1:] = (query_M[1:] == query_M[:-1]) & (doc_M[1:] == doc_M[:-1])
    # For each row where its pair begins: the running maximum of the beginnings so far.
    first_M = np.maximum.accumulate(np.where(again_M, 0, np.arange(len(order))))
    differs_M = again_M & (relevance_M != relevance_M[first_M])
    kind = "positive also given as negative" if implied else "conflicting judgments"
    for place in np.flatnonzero(differs_M)[:SHOWN_OF_A_KIND].tolist():
        first = int(first_M[place])
        pair = (
            f"{excerpt(queries.id(int(query_M[place])))}, {excerpt(corpus.id(int(doc_M[place])))}"
        )
        if implied:
            pair = excerpt(corpus.text(int(doc_M[place])))
        grades = f"has relevance {relevance_M[place]} here and {relevance_M[first]} in"
        reading.add(
            kind, int(place_M[place]), f"{pair} {grades} {reading.say(int(place_M[first]))}"
        )
    if differs_M.sum() > SHOWN_OF_A_KIND:
        reading.findings.more(kind, int(differs_M.sum()) - SHOWN_OF_A_KIND)
    repeated = int((again_M & ~differs_M).sum())
    if repeated and not implied:
        example = int(np.flatnonzero(again_M & ~differs_M)[0])
        reading.add("repeated judgment", int(place_M[example]), "was given before, alike")
        reading.findings.more("repeated judgment", repeated - 1)
    keep_M = ~again_M
    return Qrels(query_M[keep_M], doc_M[keep_M], relevance_M[keep_M])


class Labels:
    """The label of each row of both tables, and the split of each query, as they are read."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._splits: dict[str, int] = {}
        self.label = {"corpus": array("i"), "queries": array("i")}
        self._split_of_query = array("i")

    def add(self, row: Text) -> None:
        """The label of the next row of a table."""
        number = NO_LABEL
        if row.label is not None:
            number = self._numbers.setdefault(row.label, len(self._numbers))
        self.label[row.table].append(number)
        if row.table == "queries":
            self._split_of_query.append(self._splits.setdefault(row.split, len(self._splits)))

    def leave_out(self, table: str, rows: np.ndarray) -> None:
        """Take rows out that the table lost, too."""
        columns = [self.label[table]]
        columns += [self._split_of_query] if table == "queries" else []
        for column in columns:
            kept = np.delete(np.array(column, np.int32), rows)
            column[:] = array("i", kept.tolist())

    def queries_by_split(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each split and its query rows, ascending, int64 [S]."""
        split_Q = np.array(self._split_of_query, np.int32)
        for name, number in self._splits.items():
            yield name, np.flatnonzero(split_Q == number)


def judged_by_label(
    labels: Labels, own_Q: np.ndarray, group_of_N: np.ndarray, reading: Reading
) -> dict[str, Qrels]:
    """Of each split the documents of each query's label, all of relevance 1. A query's own document
    and its duplicates (`own_Q`: the first of them) are none of them.
    """
    label_N = np.array(labels.label["corpus"], np.int64)
    label_Q = np.array(labels.label["queries"], np.int64)
    order_N = np.argsort(label_N, kind="stable")
    sorted_N = label_N[order_N]
    judged = {}
    for split, rows_S in labels.queries_by_split():
        first_S = np.searchsorted(sorted_N, label_Q[rows_S], side="left")
        count_S = np.searchsorted(sorted_N, label_Q[rows_S], side="right") - first_S
        most = MOST_PAIRS_OF_TRAIN if split == "train" else MOST_PAIRS_JUDGED
        if count_S.sum() > most:
            keep_S = _share_of_each(label_Q[rows_S], most / count_S.sum())
            what = (
                f"{count_S.sum():,} pairs of one class: {keep_S.sum():,} of {len(rows_S):,} "
                "queries are used, the same share of each class"
            )
            reading.findings.add("part of the queries", f"split {excerpt(split)}", what)
            rows_S, first_S, count_S = rows_S[keep_S], first_S[keep_S], count_S[keep_S]
        query_M = np.repeat(rows_S, count_S)
        # place m of a query's run reads entry first + m of the documents sorted by label
        shift_S = first_S - (np.cumsum(count_S) - count_S)
        doc_M = order_N[np.arange(len(query_M)) + np.repeat(shift_S, count_S)]
        own_M = own_Q[query_M]
        keep_M = (own_M < 0) | (group_of_N[doc_M] != group_of_N[own_M])
        query_M, doc_M = query_M[keep_M], doc_M[keep_M]
        judged[split] = Qrels(query_M, doc_M, np.ones(len(query_M), np.int64))
    return judged


def _share_of_each(label_S: np.ndarray, share: float) -> np.ndarray:
    """Which of the queries are kept, bool [S]: of each label the same share, one at least, in an
    order that is drawn alike each time.
    """
    drawn_S = np.random.Generator(np.random.Philox(key=[0, len(label_S)])).permutation(len(label_S))
    order_S = drawn_S[np.argsort(label_S[drawn_S], kind="stable")]
    _, first, count = np.unique(label_S[order_S], return_index=True, return_counts=True)
    place_S = np.arange(len(label_S)) - np.repeat(first, count)
    keep_S = np.zeros(len(label_S), bool)
    keep_S[order_S] = place_S < np.maximum(1, np.floor(np.repeat(count, count) * share))
    return keep_S
