"""TREC run and qrels files, and the one order in which a query's documents are ranked.

The tie rule is trec_eval's (form_res_rels.c, comp_sim_docno): higher score first; equal scores by
doc id, *descending* by code point (`d9` before `d10`). Scores count as float32, as in pytrec_eval;
newer trec_eval compares doubles, and agrees because files hold float32's shortest digits. So
trec_eval, ir-measures and readers that trust the rank column all see the ranking we scored. White
space in ids is percent-encoded: of equal scores, who sorts such ids again may see another order.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from whet.data.text import TrecIds, trec_id
from whet.errors import DataError
from whet.storage.commit import write_atomically

Run = dict[str, dict[str, float]]  # query id -> doc id -> score, best first
Judgments = dict[str, dict[str, int]]  # query id -> doc id -> relevance; at least 1 is relevant

RUN_COLUMNS = "qid Q0 docid rank score tag"
QRELS_COLUMNS = "qid 0 docid relevance"
GRADE = re.compile(r"-?[0-9]{1,10}")  # `int` also reads "1_0", "+1" and digits of other scripts


def ranked(scores: Mapping[str, float]) -> dict[str, float]:
    """One query's documents, best first, with their scores as float32 values (the rule is above).

    >>> list(ranked({"d1": 0.5, "d2": 0.9, "d3": 0.5}))
    ['d2', 'd3', 'd1']
    """
    rounded = dict(zip(scores, np.fromiter(scores.values(), np.float32).tolist(), strict=True))
    by_id = sorted(rounded, reverse=True)
    return {doc: rounded[doc] for doc in sorted(by_id, key=rounded.__getitem__, reverse=True)}


def write_text(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines so that the file is there whole or not at all; gzipped when its name ends in .gz.

    The same lines give the same bytes: gzip's time stamp is 0.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines).encode()
    packed = gzip.compress(content, compresslevel=6, mtime=0) if path.suffix == ".gz" else content
    write_atomically(path, packed)


def write_run(
    path: str | Path, run: Mapping[str, Mapping[str, float]], *, tag: str = "whet"
) -> None:
    """Write a run as `qid Q0 docid rank score tag`; ranks count from 1, queries keep their order.

    White space in ids is percent-encoded. Raises DataError for a score that is not finite.
    """
    write_text(path, _run_lines(run, trec_id(tag)))


def _run_lines(run: Mapping[str, Mapping[str, float]], tag: str) -> Iterator[str]:
    queries, documents = TrecIds(), TrecIds()
    for query_id, scores in run.items():
        query = queries[query_id]
        for rank, (doc_id, value) in enumerate(ranked(scores).items(), start=1):
            check_finite(value, query_id, doc_id)
            yield f"{query} Q0 {documents[doc_id]} {rank} {np.float32(value)!s} {tag}"


def check_finite(value: float, query_id: str, doc_id: str) -> None:
    """Refuse NaN and infinity: they have no place in a ranking, and trec_eval sorts them
    silently.
    """
    if not math.isfinite(value):
        raise DataError(
            f"the score of document {doc_id!r} for query {query_id!r} is {value}. "
            "A vector holds NaN or infinity: encode again, in float32 if it was float16."
        )


def write_qrels(path: str | Path, judgments: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgments as `qid 0 docid relevance`, in the order given, ids as in a run."""
    queries, documents = TrecIds(), TrecIds()
    rows = ((query, doc, grades[doc]) for query, grades in judgments.items() for doc in grades)
    lines = (f"{queries[query]} 0 {documents[doc]} {grade:d}" for query, doc, grade in rows)
    write_text(path, lines)


def read_run(path: str | Path) -> Run:
    """Read a TREC run, gzipped or not; the rank column is ignored, as trec_eval does.

    Raises DataError with file and line for a wrong number of columns, a bad score or a document
    named twice.
    """
    run: Run = {}
    for where, (query_id, _, doc_id, _, value, _) in _rows(Path(path), RUN_COLUMNS):
        scores = run.setdefault(query_id, {})
        _refuse_twice(where, query_id, doc_id, scores)
        try:
            scores[doc_id] = float(value)
        except ValueError:
            raise DataError(f"{where}: score {value!r} is not a number. Mend that line.") from None
        if not math.isfinite(scores[doc_id]):
            raise DataError(f"{where}: score {value!r} is not finite. Mend that line.")
    return {query_id: ranked(scores) for query_id, scores in run.items()}


def read_qrels(path: str | Path) -> Judgments:
    """Read TREC qrels, gzipped or not. Raises DataError as `read_run`, and for a relevance that is
    no whole number.
    """
    judgments: Judgments = {}
    for where, (query_id, _, doc_id, value) in _rows(Path(path), QRELS_COLUMNS):
        grades = judgments.setdefault(query_id, {})
        _refuse_twice(where, query_id, doc_id, grades)
        if not GRADE.fullmatch(value):
            raise DataError(
                f"{where}: relevance {value!r} is not a whole number. Use grades such as 0, 1, 2."
            )
        grades[doc_id] = int(value)
    return judgments


def _rows(path: Path, columns: str) -> Iterator[tuple[str, list[str]]]:
    """("file line n", columns) of every line that is not blank."""
    expected = len(columns.split())
    for number, line in enumerate(_lines(path), start=1):
        row = line.split()
        if row and len(row) != expected:
            raise DataError(
                f"{path} line {number}: {len(row)} columns where {expected} belong ({columns}). "
                "Mend that line; ids must not hold white space."
            )
        if row:
            yield f"{path} line {number}", row


def _lines(path: Path) -> Iterable[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            yield from file
    except (OSError, EOFError, UnicodeDecodeError) as problem:
        raise DataError(
            f"{path} cannot be read: {problem}. Check the file and its name."
        ) from problem


def _refuse_twice(where: str, query_id: str, doc_id: str, seen: Mapping[str, float]) -> None:
    if doc_id in seen:
        raise DataError(
            f"{where}: document {doc_id!r} is listed twice for query {query_id!r}. Remove one."
        )
