"""The vectors of one job's queries and documents, by a store; several processes share the work.

Shape suffixes: Q train queries, S documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whet.encoding.corpus import embed_corpus, embed_documents, embed_part, embed_queries
from whet.model.encoder import Encoder
from whet.refresh.rounded import EightBitEncoder
from whet.run.job import Job
from whet.types import CorpusShard, Embeddings

Corpus = Embeddings | CorpusShard


@dataclass(frozen=True)
class JobVectors:
    """Encodes for a job what its store does not hold; documents in 8 bits where it says so."""

    job: Job
    store: Path
    in_int8: bool = False

    def all(self, encoder: Encoder) -> tuple[Embeddings, Corpus]:
        """Of the queries that are learned from, and of the corpus or this process's part of it."""
        job, config = self.job, self.job.config.encode
        queries = self.queries(encoder, job.learned.query_rows)
        documents, kept = self._documents_by(encoder)
        return queries, embed_corpus(documents, job.data, store=kept, config=config, pace=job.pace)

    def queries(self, encoder: Encoder, rows: np.ndarray) -> Embeddings:
        """Of some queries, in every process."""
        job = self.job
        return embed_queries(encoder, job.data, rows, store=self.store, config=job.config.encode)

    def documents(self, encoder: Encoder, rows: np.ndarray) -> Embeddings:
        """Of some documents, encoded by this process."""
        documents, kept = self._documents_by(encoder)
        config = self.job.config.encode
        return embed_documents(documents, self.job.data, rows, store=kept, config=config)

    def _documents_by(self, encoder: Encoder) -> tuple[Encoder, Path]:
        """Who encodes them, and where: vectors of weights that do not change are kept, and are
        there already as the base model was judged by them.
        """
        documents = self.job.documents_by(encoder)
        if documents is not encoder:
            return documents, self.job.base_store
        return EightBitEncoder(encoder) if self.in_int8 else encoder, self.store

    def part(self, encoder: Encoder, rows_S: np.ndarray) -> Corpus:
        """Of some documents, as a corpus of their own that all processes share."""
        documents, kept = self._documents_by(encoder)
        config = self.job.config.encode
        return embed_part(documents, self.job.data, rows_S, store=kept, config=config)

    def among(self, encoder: Encoder, rows_S: np.ndarray | None) -> tuple[Embeddings, Corpus]:
        """As `all`, or of the queries and some documents."""
        if rows_S is None:
            return self.all(encoder)
        return self.queries(encoder, self.job.learned.query_rows), self.part(encoder, rows_S)


def own_rows(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """Those of the corpus rows whose vectors are in this process."""
    return rows[corpus.holds(rows)] if isinstance(corpus, CorpusShard) else rows


def places(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """Where this process's vectors of corpus rows stand in `corpus.vectors`."""
    return rows - corpus.start if isinstance(corpus, CorpusShard) else rows
