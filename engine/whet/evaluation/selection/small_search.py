"""Scores of a few queries that search a few documents, by all processes of a job.

Shape suffixes: Q queries, N documents, D dimensions, K documents ranked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from whet.config import EncodeConfig
from whet.evaluation.measures import score
from whet.evaluation.retrieval import retrieve, run_of
from whet.model.encoder import Encoder
from whet.model.inference import encode_texts
from whet.model.towers import Towers
from whet.processes.world import concatenated, from_leader, share, together
from whet.types import Embeddings, Item


def shared_vectors(
    model: Encoder | Towers, items: Sequence[Item], kind: str, config: EncodeConfig
) -> np.ndarray:
    """Vectors of some texts or pictures, [n, D], in every process; each encodes a part."""
    own = items[share(len(items))]
    encoder = model.side(kind) if isinstance(model, Towers) else model
    return concatenated(together(lambda: encode_texts(encoder, own, kind, config)))


def scored(
    queries: Embeddings,
    documents: Embeddings,
    judgments: Mapping[str, Mapping[str, int]],
    measure: str,
    *,
    depth: int,
    own_Q: np.ndarray | None = None,
    home_N: np.ndarray | None = None,
) -> dict[str, float]:
    """Each judged query's score by one measure, in the order of the queries: the leader's figures,
    in every process, since all are to decide alike.
    """
    return from_leader(
        lambda: _scored(
            queries, documents, judgments, measure, depth=depth, own_Q=own_Q, home_N=home_N
        )
    )


def _scored(
    queries: Embeddings,
    documents: Embeddings,
    judgments: Mapping[str, Mapping[str, int]],
    measure: str,
    *,
    depth: int,
    own_Q: np.ndarray | None,
    home_N: np.ndarray | None,
) -> dict[str, float]:
    own_Q = None if own_Q is None or (own_Q < 0).all() else own_Q
    hits = retrieve(
        queries,
        documents,
        depth,
        own_Q=own_Q,
        home_N=home_N,
        search=_by_products,
    )
    run = run_of(*hits, queries.ids, documents.ids)
    by_query = next(iter(score(run, judgments, [measure]).per_query.values()))
    return {query: by_query[query] for query in queries.ids if query in by_query}


def _by_products(query_QD: np.ndarray, doc_ND: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All inner products, sorted: a pool is small. Ties by row."""
    score_QN = query_QD @ doc_ND.T
    order_QK = np.argsort(-score_QN, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(score_QN, order_QK, axis=1), order_QK.astype(np.int64)


def mean(scores: Mapping[str, float]) -> float:
    """The mean of some queries' scores."""
    return float(np.mean(list(scores.values())))
