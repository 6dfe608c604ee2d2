"""Full-corpus retrieval: every judged query against every document, as a run.

Shape suffixes: Q queries, N documents of the corpus, K documents per query, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from whet.data.readers.passages import by_document, enough
from whet.errors import ConfigError, DataError
from whet.evaluation.trec import Run, check_finite, ranked
from whet.types import CorpusShard, Embeddings

# of queries and the corpus's vectors, which of one in parts are a CorpusShard
Search = Callable[[np.ndarray, Any, int], tuple[np.ndarray, np.ndarray]]


def retrieve(
    queries: Embeddings,
    corpus: Embeddings | CorpusShard,
    depth: int,
    *,
    ignore_identical_ids: bool = False,
    own_Q: np.ndarray | None = None,
    home_N: np.ndarray | None = None,
    search: Search | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The `depth` best documents of each query by inner product, best first.

    Returns scores_QK (float32) and rows_QK (int64) of the corpus, K = min(depth, N), ties by row;
    where a backend returns fewer, rows are -1 and scores NaN.
    `ignore_identical_ids` (BEIR's name) leaves out the document whose id is the query's own, for
    data where queries are documents too; `own_Q` names that document's row for each query, -1 for
    none (whet.data.positives). Else it is a document like any other. Where `home_N` names the
    document of each passage, documents are ranked by their best passage. `search(query_QD, corpus,
    k)`, of the corpus's vectors or of a shard, defaults to the exact `whet.mining.search.search`.
    Raises ConfigError for a depth below 1, DataError for an empty side or dimensions that differ.
    """
    _check(queries, corpus, depth)
    if ignore_identical_ids:
        own_Q = _own_rows(queries.ids, corpus.ids)
    wanted = depth if own_Q is None else depth + 1

    def found(k: int) -> tuple[np.ndarray, np.ndarray]:
        if search is None:
            hits: tuple[np.ndarray, np.ndarray] = _exact_search()(queries, corpus, k)
            return hits
        if isinstance(corpus, CorpusShard):
            return search(queries.vectors, corpus, k)
        return search(queries.vectors, corpus.vectors, k)

    scores_QK, rows_QK = documents_found(found, wanted, len(corpus), home_N)
    if own_Q is None:
        return scores_QK, rows_QK
    return without_own(scores_QK, rows_QK, own_Q, depth)


def documents_found(
    found: Callable[[int], tuple[np.ndarray, np.ndarray]],
    depth: int,
    size: int,
    home_N: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """What `found(k)` ranks of a corpus of `size` rows, `depth` deep; passages as documents, each
    at its best: more and more are ranked, until every query has as many documents as it can.
    """
    k = min(depth, size)
    if home_N is None:
        return found(k)
    documents = len(np.unique(home_N))
    while True:
        k = min(4 * k, size)
        hits = by_document(*found(k), home_N, min(depth, documents))
        if k == size or enough(hits[1], depth, documents):
            return hits


def run_of(
    scores_QK: np.ndarray, rows_QK: np.ndarray, query_ids: Sequence[str], doc_ids: Sequence[str]
) -> Run:
    """What `retrieve` found, by ids and in TREC order; padded places (row -1) are left out.

    Raises DataError for a score that is not finite.

    >>> run_of(np.array([[0.5, 0.25]]), np.array([[1, -1]]), ["q"], ["a", "b"])
    {'q': {'b': 0.5}}
    """
    run: Run = {}
    for query_id, scores_K, rows_K in zip(
        query_ids, scores_QK.tolist(), rows_QK.tolist(), strict=True
    ):
        scores = {
            doc_ids[row]: value for row, value in zip(rows_K, scores_K, strict=True) if row >= 0
        }
        for doc_id, value in scores.items():
            check_finite(value, query_id, doc_id)
        run[query_id] = ranked(scores)
    return run


def _exact_search() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    from whet.mining.search import search

    return search


def _check(queries: Embeddings, corpus: Embeddings | CorpusShard, depth: int) -> None:
    if depth < 1:
        raise ConfigError(f"evaluate.depth is {depth}. Set it to 1 or more, such as 100.")
    for name, side in (("queries", queries), ("corpus", corpus)):
        if not len(side):
            raise DataError(f"there are no {name} to evaluate. Check the data's path and split.")
    if queries.vectors.shape[1] != corpus.vectors.shape[1]:
        raise DataError(
            f"query vectors have {queries.vectors.shape[1]} dimensions, "
            f"corpus vectors {corpus.vectors.shape[1]}. Encode both with the same model."
        )


def _own_rows(query_ids: Sequence[str], doc_ids: Sequence[str]) -> np.ndarray:
    """Per query the row of the document with the same id, or -1 (holds the queries' ids, never the
    corpus's).
    """
    own = dict.fromkeys(query_ids, -1)
    for row, doc_id in enumerate(doc_ids):
        if doc_id in own:
            own[doc_id] = row
    return np.array([own[query_id] for query_id in query_ids], np.int64)


def without_own(
    scores_QK: np.ndarray, rows_QK: np.ndarray, own_Q: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Move each query's own document, if found, to the end as padding; keep the first `depth`
    places.
    """
    own_QK = (rows_QK == own_Q[:, None]) & (rows_QK >= 0)
    order_QK = np.argsort(own_QK, axis=1, kind="stable")[:, :depth]
    scores_QK = np.where(own_QK, np.float32("nan"), scores_QK)
    rows_QK = np.where(own_QK, -1, rows_QK)
    return np.take_along_axis(scores_QK, order_QK, axis=1), np.take_along_axis(
        rows_QK, order_QK, axis=1
    )
