"""What a refresh encodes and searches: all, the candidates of the first mining, or all with most
vectors moved by a linear map instead of encoded.

Shape suffixes: Q train queries, S documents, L lists of C candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from whet.encoding.table import room_for
from whet.errors import ConfigError
from whet.mining.linear import fit_linear
from whet.mining.miner import Mined
from whet.mining.part import candidates_of, check_for_part, chosen_rows, positives_within
from whet.mining.rows import mine_rows
from whet.mining.search.gpu import corpus_kept
from whet.model.encoder import Encoder
from whet.processes.world import concatenated
from whet.progress import say
from whet.refresh.vectors import Corpus, JobVectors, own_rows, places
from whet.run.job import Job
from whet.types import Embeddings, Negatives

FEW = 4  # documents per query and negative; with 6 it found 83 % of the negatives, with 2 70 %
FITTED = 0.2  # of what may be encoded: the sample that the linear map is fitted on
RIDGE = 0.1  # of 1e-4 to 1 nearest on a sample of 4 % of 50,000 documents, after 50 steps


@dataclass(frozen=True)
class Refreshed:
    """A refresh's result, the vectors it was found with, and how many documents were encoded.

    `corpus` holds the vectors of the documents `among`, or of all where that is None.
    """

    mined: Mined
    queries: Embeddings
    corpus: Corpus
    among: np.ndarray | None
    encoded: int


class Scope(Protocol):
    """One way to mine again."""

    def start(self, vectors: JobVectors, encoder: Encoder) -> None:
        """Keep what is needed of the model before training."""

    def find(
        self, vectors: JobVectors, encoder: Encoder, step: int, previous: Negatives | None
    ) -> Refreshed:
        """Mine with the model as it is."""


class _Base:
    """`among` are the documents that mining looks at, None for all."""

    def __init__(self, job: Job, among: np.ndarray | None) -> None:
        self.job, self.among = job, among
        self.documents = len(job.data.corpus)
        self.limit = int(job.config.refresh.max_share * self.documents)
        self.rows_Q = job.learned.query_rows
        self.positives = job.positives.take(self.rows_Q)

    def candidates(self, queries: Embeddings, corpus: Corpus) -> np.ndarray:
        """Lists of documents that may become negatives."""
        policy, among = self.job.config.mining, self.among
        count = min(self.job.config.refresh.candidates, len(corpus))
        if among is None:
            return candidates_of(queries, corpus, self.positives, policy, count)
        within = positives_within(self.positives, among)
        place_LC = candidates_of(queries, corpus, within, policy, count)
        return np.where(place_LC >= 0, among[place_LC], -1)

    def mine(
        self,
        queries: Embeddings,
        corpus: Corpus,
        step: int,
        previous: Negatives | None,
        among: np.ndarray | None = None,
    ) -> Mined:
        """Mine in these vectors."""
        return mine_rows(
            queries,
            corpus,
            self.rows_Q,
            self.job.data,
            self.positives,
            policy=self.job.config.mining,
            among=among,
            refresh=step,
            previous=previous,
        )


class All(_Base):
    """Every document that mining looks at is encoded."""

    def start(self, vectors: JobVectors, encoder: Encoder) -> None:
        """Nothing is kept."""

    def find(
        self, vectors: JobVectors, encoder: Encoder, step: int, previous: Negatives | None
    ) -> Refreshed:
        """Mine in all of them."""
        queries, corpus = vectors.among(encoder, self.among)
        mined = self.mine(queries, corpus, step, previous, self.among)
        return Refreshed(mined, queries, corpus, self.among, len(corpus))


class Candidates(_Base):
    """The positives and those documents that stood highest for any query before training: the cost
    grows with the queries, not with the corpus.
    """

    def __init__(self, job: Job, among: np.ndarray | None) -> None:
        super().__init__(job, among)
        self.rows_S = np.empty(0, np.int64)
        check_for_part(job.config.mining)
        needed = len(np.unique(self.positives.doc_rows_P))
        if needed >= self.limit:
            raise ConfigError(
                f"refresh.scope=candidates encodes every positive, {needed:,} documents, and "
                f"refresh.max_share={job.config.refresh.max_share:g} of {self.documents:,} allows "
                f"{self.limit:,}. Raise it, or set refresh.scope=mapped, which needs no positive."
            )

    def start(self, vectors: JobVectors, encoder: Encoder) -> None:
        """Choose the documents."""
        candidate_LC = self.candidates(*vectors.among(encoder, self.among))
        self.rows_S = chosen_rows(candidate_LC, self.positives.doc_rows_P, self.limit)
        each = len(self.rows_S) / max(1, len(self.rows_Q))
        if each < FEW * self.job.config.mining.num_negatives and len(self.rows_S) == self.limit:
            say(
                f"refresh.scope=candidates has room for {each:.1f} documents a query: it will miss "
                "many negatives. refresh.scope=mapped misses fewer; or raise refresh.max_share."
            )

    def find(
        self, vectors: JobVectors, encoder: Encoder, step: int, previous: Negatives | None
    ) -> Refreshed:
        """Mine among them."""
        queries, part = vectors.queries(encoder, self.rows_Q), vectors.part(encoder, self.rows_S)
        mined = self.mine(queries, part, step, previous, self.rows_S)
        return Refreshed(mined, queries, part, self.rows_S, len(self.rows_S))


class Mapped(_Base):
    """Every document, where a linear map says that its vector is now; the sample it was fitted on
    and the best candidates by it are encoded.
    """

    def __init__(self, job: Job, among: np.ndarray | None) -> None:
        super().__init__(job, among)
        self.before: Corpus | None = None

    def start(self, vectors: JobVectors, encoder: Encoder) -> None:
        """Keep the vectors before training."""
        self.before = vectors.all(encoder)[1]

    def find(
        self, vectors: JobVectors, encoder: Encoder, step: int, previous: Negatives | None
    ) -> Refreshed:
        """Mine in vectors of both kinds."""
        sample_S = self._sample()
        corpus = self._moved(vectors, encoder, sample_S)
        queries = vectors.queries(encoder, self.rows_Q)
        always = np.union1d(sample_S, self.positives.doc_rows_P)
        always = always if len(always) < self.limit else sample_S
        with corpus_kept():  # of vectors that change below
            candidate_LC = self.candidates(queries, corpus)
        rows_S = chosen_rows(candidate_LC, always, self.limit)
        own = own_rows(corpus, rows_S)
        corpus.vectors[places(corpus, own)] = vectors.documents(encoder, own).vectors
        mined = self.mine(queries, corpus, step, previous)
        return Refreshed(mined, queries, corpus, None, len(rows_S))

    def _sample(self) -> np.ndarray:
        """The documents that the map is fitted on, the same at every step."""
        rng = np.random.default_rng(self.job.config.seed)
        size = max(1, int(FITTED * self.limit))
        return np.sort(rng.choice(self.documents, size, replace=False))

    def _moved(self, vectors: JobVectors, encoder: Encoder, sample_S: np.ndarray) -> Corpus:
        """The corpus, or this process's part of it, by the map fitted on the whole sample."""
        before = self.before
        assert before is not None, "start() comes first"
        own = own_rows(before, sample_S)
        old_SD = np.asarray(before.vectors[places(before, own)])
        new_SD = vectors.documents(encoder, own).vectors
        fitted = fit_linear(concatenated(old_SD), concatenated(new_SD), RIDGE)
        room_ND = room_for(len(before.vectors), before.vectors.shape[1], vectors.store)
        fitted(before.vectors, out_ND=room_ND)
        return replace(before, vectors=room_ND)


SCOPES: dict[str, Callable[[Job, np.ndarray | None], Scope]] = {
    "all": All,
    "candidates": Candidates,
    "mapped": Mapped,
}
