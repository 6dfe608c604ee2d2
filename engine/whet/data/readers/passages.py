"""Long documents as passages, cut between paragraphs (data.passages=auto).

The first passage of a document keeps its id, the others are `id#2`, `id#3`, ... Judgments stay with
the document, that is its first passage, also where they name another, as those of the search page
do: rankings name a document once, at its best passage, and in training each passage of a relevant
document is relevant.

Shape suffixes: N passages of the corpus, M judgments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from whet.data.table import TextTable
from whet.data.text import END, WORD
from whet.types import Qrels

MOST_WORDS = 180  # of a passage: about 256 tokens, which small models read
_PARAGRAPH = re.compile(r"\n\s*\n")
NUMBERED = re.compile(r"#\d+$")  # how the ids of passages end


def passages_of(text: str) -> list[str]:
    r"""A text in passages of at most MOST_WORDS words, cut between paragraphs, else between
    sentences, else between words; a text that is short enough is one.

    >>> passages_of("short")
    ['short']
    >>> [len(part.split()) for part in passages_of("a " * 100 + "\n\n" + "b " * 100)]
    [100, 100]
    """
    if _words(text) <= MOST_WORDS:
        return [text]
    passages: list[str] = []
    size = 0
    for joint, piece in _pieces(text):
        words = _words(piece)
        if passages and size + words <= MOST_WORDS:
            passages[-1] += joint + piece
            size += words
        else:
            passages.append(piece)
            size = words
    return passages


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """(what stands before it, piece): paragraphs, or the sentences or words of one that is long."""
    for paragraph in filter(str.strip, _PARAGRAPH.split(text)):
        if _words(paragraph) <= MOST_WORDS:
            yield "\n\n", paragraph.strip()
            continue
        joint = "\n\n"
        for sentence in filter(str.strip, END.split(paragraph)):
            for part in _at_most(sentence.strip()):
                yield joint, part
                joint = " "


def _at_most(sentence: str) -> Iterator[str]:
    starts = [match.start() for match in WORD.finditer(sentence)][::MOST_WORDS]
    for start, end in zip(starts, [*starts[1:], len(sentence)], strict=True):
        yield sentence[start:end].strip()


def _words(text: str) -> int:
    return sum(1 for _ in WORD.finditer(text))


def passage_id(document: str, number: int) -> str:
    """The id of a document's passage, counted from 1.

    >>> passage_id("doc", 1), passage_id("doc", 3)
    ('doc', 'doc#3')
    """
    return document if number == 1 else f"{document}#{number}"


def homes_of(corpus: TextTable) -> np.ndarray:
    """For each passage the row of its document's first one, int64 [N]."""
    homes: list[int] = []
    home_id = ""
    for row, id_ in enumerate(corpus.ids):
        if homes and id_ == passage_id(home_id, row - homes[-1] + 1):
            homes.append(homes[-1])
        else:
            homes.append(row)
            home_id = id_
    return np.array(homes, np.int64)


def of_documents(qrels: Qrels, home_N: np.ndarray) -> Qrels:
    """Judgments of passages as those of their documents: of several the highest counts."""
    doc_M = home_N[qrels.doc_rows_M]
    if np.array_equal(doc_M, qrels.doc_rows_M):
        return qrels
    order = np.lexsort((-qrels.relevance_M, doc_M, qrels.query_rows_M))
    query_M, doc_M = qrels.query_rows_M[order], doc_M[order]
    keep_M = np.ones(len(order), bool)
    keep_M[1:] = (query_M[1:] != query_M[:-1]) | (doc_M[1:] != doc_M[:-1])
    return Qrels(query_M[keep_M], doc_M[keep_M], qrels.relevance_M[order][keep_M])


def with_all_passages(qrels: Qrels, home_N: np.ndarray | None) -> Qrels:
    """The judgments of documents as those of all their passages; the same without passages."""
    if home_N is None:
        return qrels
    count_N = np.bincount(home_N, minlength=len(home_N))
    count_M = count_N[qrels.doc_rows_M]
    before_M = np.cumsum(count_M) - count_M
    offset = np.arange(count_M.sum()) - np.repeat(before_M, count_M)
    rows = np.repeat(qrels.doc_rows_M, count_M) + offset
    return Qrels(
        np.repeat(qrels.query_rows_M, count_M), rows, np.repeat(qrels.relevance_M, count_M)
    )


def by_document(
    scores_QK: np.ndarray, rows_QK: np.ndarray, home_N: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ranked passages as documents: each once, at its best passage, at most `depth` of a query;
    short rows end in row -1 and score NaN.
    """
    scores_QD = np.full((len(rows_QK), depth), np.nan, np.float32)
    rows_QD = np.full((len(rows_QK), depth), -1, np.int64)
    for query, (scores_K, rows_K) in enumerate(zip(scores_QK, rows_QK, strict=True)):
        found = rows_K >= 0
        _, first = np.unique(home_N[rows_K[found]], return_index=True)
        best = np.sort(first)[:depth]
        rows_QD[query, : len(best)] = home_N[rows_K[found][best]]
        scores_QD[query, : len(best)] = scores_K[found][best]
    return scores_QD, rows_QD


def enough(rows_QD: np.ndarray, depth: int, documents: int) -> bool:
    """Whether every query has as many documents as it can have."""
    return bool(((rows_QD >= 0).sum(axis=1) >= min(depth, documents)).all())
