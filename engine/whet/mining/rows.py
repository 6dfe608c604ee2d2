"""Hard negatives for rows of a data set's query table.

Shape suffixes: Q queries, R rows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from whet.config import EncodeConfig, MiningConfig
from whet.data.load import Dataset
from whet.encoding.corpus import embed_corpus, embed_part, embed_queries
from whet.mining.crossencoder import mining_rescorer
from whet.mining.miner import Mined, mine
from whet.mining.part import mine_part
from whet.model.encoder import Encoder
from whet.types import CorpusShard, Embeddings, Negatives, Positives, Qrels


def mine_with(
    encoder: Encoder,
    data: Dataset,
    train: Qrels,
    positives: Positives,
    *,
    store: Path,
    policy: MiningConfig,
    encode: EncodeConfig | None,
    among: np.ndarray | None = None,
    documents_by: Encoder | None = None,
) -> Mined:
    """Hard negatives of every query with a relevant document; rows of the result are the query
    table's. `among` are the documents looked at, if not all: ascending, all positives in them.
    `documents_by` encodes them, if not the encoder itself.
    """
    by = documents_by or encoder
    relevant = train.relevant()
    rows = relevant.query_rows
    known: dict[str, Any] = {"store": store, "config": encode}
    corpus: Embeddings | CorpusShard
    queries = embed_queries(encoder, data, rows, **known)
    if among is None:
        corpus = embed_corpus(by, data, **known)
    else:
        corpus = embed_part(by, data, among, **known)
    of_rows = positives.take(rows)
    return mine_rows(queries, corpus, rows, data, of_rows, policy=policy, among=among)


def mine_rows(
    queries: Embeddings,
    corpus: Embeddings | CorpusShard,
    query_rows_Q: np.ndarray,
    data: Dataset,
    positives: Positives,
    *,
    policy: MiningConfig,
    among: np.ndarray | None = None,
    refresh: int = 0,
    previous: Negatives | None = None,
) -> Mined:
    """`mine` for some rows of the query table, by whose numbers the result speaks, as does
    `previous` (the refresh before). `positives` are those of the rows. `among` are the documents of
    which `corpus` has the vectors, if not all.
    """
    rescore = mining_rescorer(policy, data.queries, data.corpus, query_rows_Q)
    if previous is not None:
        # `mine` counts queries from 0 among those given, so the previous rows must, too.
        selected = np.searchsorted(query_rows_Q, previous.query_rows_R)
        previous = replace(previous, query_rows_R=selected)
    if among is None:
        mined = mine(
            queries,
            corpus,
            positives,
            policy,
            refresh=refresh,
            rescore=rescore,
            previous=previous,
        )
    else:
        mined = mine_part(
            queries,
            corpus,
            among,
            positives,
            policy,
            refresh=refresh,
            rescore=rescore,
            previous=previous,
        )
    return mined.renumbered(query_rows_Q)
