"""The one table of known positives, from judgments.
 Shape suffixes: Q rows of the query table, N rows of the corpus, G texts that differ, P positives
of all queries.
"""

from __future__ import annotations

import numpy as np

from whet.data.table import TextTable
from whet.types import Positives, Qrels


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
