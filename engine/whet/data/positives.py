"""The one table of known positives, from judgments; and queries that are documents, too, as in
collections of questions, tickets or arguments.

 Shape suffixes: Q rows of the query table, N rows of the corpus, G texts that differ, P positives
of all queries.
"""

from __future__ import annotations

import numpy as np

from whet.data.table import TextTable
from whet.data.text import normalise, told_apart_by
from whet.types import Item, Picture, Positives, Qrels


def positives_of(
    qrels: Qrels, queries: TextTable, corpus: TextTable, own_Q: np.ndarray | None = None
) -> Positives:
    """The relevant (at least 1) documents of every row of the query table, as CSR, ascending within
    a query.

    Queries of equal normalised text share their positives: what answers one answers the other.
    `own_Q` is each query's own text as a document (Dataset.own_Q), which is no negative of it.
    """
    relevant = qrels.relevant()
    group_of_Q = np.asarray(queries.group_of_N())
    pairs_P2 = np.stack([group_of_Q[relevant.query_rows_M], relevant.doc_rows_M], axis=1)
    pairs_P2 = np.unique(pairs_P2, axis=0)  # sorted by group, then document
    count_of_group = np.bincount(pairs_P2[:, 0], minlength=len(queries)).astype(np.int64)
    start_of_group = np.cumsum(count_of_group) - count_of_group
    count_Q = count_of_group[group_of_Q]
    offsets_Q1 = np.concatenate([np.zeros(1, np.int64), np.cumsum(count_Q)])
    # position p of query q reads entry p - offsets[q] of its group's run
    shift_Q = start_of_group[group_of_Q] - offsets_Q1[:-1]
    doc_rows_P = pairs_P2[np.arange(offsets_Q1[-1]) + np.repeat(shift_Q, count_Q), 1]
    own_Q = None if own_Q is None or (own_Q < 0).all() else np.asarray(own_Q)
    group_of_N = np.asarray(corpus.group_of_N())
    return Positives(offsets_Q1, doc_rows_P.astype(np.int64), group_of_N, own_Q)


def same_text(hash_Q: np.ndarray, hash_N: np.ndarray) -> np.ndarray:
    """For each query the first document of its text, int64 [Q], -1 where there is none; both sides
    as hashes of their normalised texts.

    >>> same_text(np.array([7, 8], np.uint64), np.array([5, 8, 8], np.uint64))
    array([-1,  1])
    """
    if not len(hash_N):
        return np.full(len(hash_Q), -1, np.int64)
    sorted_N, first_N = np.unique(hash_N, return_index=True)
    place_Q = np.minimum(np.searchsorted(sorted_N, hash_Q), len(sorted_N) - 1)
    found_Q = sorted_N[place_Q] == hash_Q
    return np.where(found_Q, first_N[place_Q], -1).astype(np.int64)


def own_documents(queries: TextTable, corpus: TextTable, qrels: Qrels) -> np.ndarray:
    """For each judged query the document that is the query itself, int64 [Q], -1 where there is
    none: it has the query's id and text (or picture), perhaps after a title, and nobody judged it
    relevant.

    Such a document is found first by any system and answers nothing, so it is left out of rankings,
    as BEIR's and mteb's evaluation does (`ignore_identical_ids`). The id alone is not enough, since
    queries and documents are often numbered alike.
    """
    rows_Q = qrels.query_rows
    own_Q = corpus.rows_of(queries.ids_of(rows_Q))
    same = np.flatnonzero(own_Q >= 0)
    pairs = zip(queries.items(rows_Q[same]), corpus.items(own_Q[same]), strict=True)
    different = [not _is_itself(query, doc) for query, doc in pairs]
    own_Q[same[np.array(different, bool)]] = -1
    relevant = qrels.relevant()
    wide = len(corpus) + 1
    judged = relevant.query_rows_M * wide + relevant.doc_rows_M
    own_Q[np.isin(rows_Q * wide + own_Q, judged) & (own_Q >= 0)] = -1
    return own_Q


def _is_itself(query: Item, document: Item) -> bool:
    if isinstance(query, Picture) or isinstance(document, Picture):
        return told_apart_by(query) == told_apart_by(document)
    query, document = normalise(query), normalise(document)
    return document == query or (document.endswith(query) and 2 * len(query) > len(document))
