"""Vectors of a data set's queries and documents, shared out among the processes of a job.

Shape suffixes: N documents, D dimensions, W processes.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np

from whet.config import EncodeConfig
from whet.data.load import Dataset
from whet.encoding.table import encode_table
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.processes.world import concatenated, share, stacked, together, world
from whet.types import CorpusShard, Embeddings, Qrels

PROBED = 32  # texts or pictures encoded to measure a process


UNEVEN = 1.3  # a process this much faster than another gets more of the corpus


class Pace:
    """How fast each process encodes, measured once: the faster get more of the corpus, unless all
    are to get the same in every run (`even`).
    """

    def __init__(self, even: bool = False) -> None:
        self.rates_W: np.ndarray | None = np.ones(world().size) if even else None

    def part(self, rows: int, encoder: Encoder | Towers, config: EncodeConfig | None) -> slice:
        """This process's rows of the corpus."""
        if self.rates_W is None:
            typical = [encoder.side("document").typical] * PROBED
            encode = partial(encoder.encode, typical, config=config)
            together(encode)  # the first call also loads and compiles
            start = time.monotonic()
            together(encode)
            rates_W = 1 / stacked(np.array([time.monotonic() - start]))[:, 0]
            uneven = rates_W.max() > UNEVEN * rates_W.min()
            self.rates_W = rates_W if uneven else np.ones(world().size)
        return share(rows, self.rates_W)


def embed(
    encoder: Encoder | Towers,
    data: Dataset,
    qrels: Qrels,
    *,
    store: Path,
    config: EncodeConfig | None,
    pace: Pace | None = None,
) -> tuple[Embeddings, Embeddings | CorpusShard]:
    """Vectors of the judged queries, ascending by row, and of the corpus.

    Of several processes each encodes a part of both; all get all queries, and each its part of the
    corpus.
    """
    queries = embed_queries(encoder, data, qrels.query_rows, store=store, config=config)
    return queries, embed_corpus(encoder, data, store=store, config=config, pace=pace)


def embed_corpus(
    encoder: Encoder | Towers,
    data: Dataset,
    *,
    store: Path,
    config: EncodeConfig | None,
    pace: Pace | None = None,
) -> Embeddings | CorpusShard:
    """Vectors of all documents; of several processes each gets its part."""
    if world().size == 1:
        return embed_documents(encoder, data, None, store=store, config=config)
    part = (pace or Pace()).part(len(data.corpus), encoder, config)
    rows = np.arange(part.start, part.stop)
    shard = embed_documents(encoder, data, rows, store=store, config=config)
    return CorpusShard(data.corpus.ids, shard.vectors, part.start)


def embed_queries(
    encoder: Encoder | Towers,
    data: Dataset,
    rows: np.ndarray,
    *,
    store: Path,
    config: EncodeConfig | None,
) -> Embeddings:
    """Vectors of some queries; of several processes each encodes a part, and all get all."""
    own = rows[share(len(rows))]
    encoded = together(
        lambda: encode_table(
            encoder, data.queries, kind="query", rows=own, store=store, config=config
        )
    )
    if world().size == 1:
        return encoded
    ids = data.queries.ids
    return Embeddings([ids[int(row)] for row in rows], concatenated(encoded.vectors))


def embed_documents(
    encoder: Encoder | Towers,
    data: Dataset,
    rows: np.ndarray | None,
    *,
    store: Path,
    config: EncodeConfig | None,
) -> Embeddings:
    """Vectors of some documents, or of all, encoded by this process alone; if that fails in one
    process it does in all.
    """
    return together(
        lambda: encode_table(
            encoder, data.corpus, kind="document", rows=rows, store=store, config=config
        )
    )


def embed_part(
    encoder: Encoder | Towers,
    data: Dataset,
    rows_S: np.ndarray,
    *,
    store: Path,
    config: EncodeConfig | None,
) -> Embeddings | CorpusShard:
    """Vectors of some documents, as a corpus of their own that all processes share."""
    own = share(len(rows_S))
    encoded = embed_documents(encoder, data, rows_S[own], store=store, config=config)
    if world().size == 1:
        return encoded
    return CorpusShard(data.corpus.ids_of(rows_S), encoded.vectors, own.start)
