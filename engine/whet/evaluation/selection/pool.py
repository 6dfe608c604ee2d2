"""A model judged cheaply: some dev queries, searching a few documents instead of all.

The pool is chosen once, by what the base model finds, so the figures of one run can be compared
with each other, and with nothing else: fewer documents make every model look better.

Shape suffixes: Q queries asked, N documents of the pool, D dimensions, K documents ranked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whet.config import FitConfig
from whet.data.load import Dataset
from whet.data.positives import own_documents
from whet.encoding.corpus import embed_documents, embed_queries
from whet.errors import CheckpointError
from whet.evaluation.judge import judgments_of
from whet.evaluation.selection.small_search import scored, shared_vectors
from whet.evaluation.trec import Run
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.processes.world import from_leader
from whet.storage.commit import write_json
from whet.storage.readable import readable_json
from whet.types import Embeddings, Qrels

COST = 0.06  # of all that a fit encodes, for the judgements of all moments together
MIXES = 2  # judgements besides those of the moments: of smaller shares
BACKWARD = 3  # a text that is trained on costs three that are encoded
RANDOM = 0.2  # of the pool, drawn from all documents
MOST_POSITIVES = 10  # of a query, in the pool
MOST_EACH = 20  # documents for each query: more tell models no better apart
LEAST_EACH = 4
REMEDY = "Start a new run."


@dataclass(frozen=True)
class DevPool:
    """Rows of the queries asked and of the documents searched, ascending."""

    query_rows_Q: np.ndarray
    doc_rows_N: np.ndarray


def room(documents: int, queries: int, pairs: int, config: FitConfig) -> int:
    """How many texts a judgement may encode, for all of them to cost `COST` of the fit: it encodes
    the corpus twice and the queries it mines for, and trains on `pairs`.

    >>> room(10_594, 6_400, 6_400, FitConfig())
    851
    """
    texts = 2 + config.mining.num_negatives  # of a pair
    work = 2 * documents + queries + BACKWARD * pairs * texts
    return int(COST * work / (config.select.moments + MIXES))


def shape_of(texts: int, queries: int, documents: int, least: int = 1) -> tuple[int, int]:
    """How many of the dev queries a pool asks, and how many documents it has, for a judgement of
    about `texts` texts: 4 documents for each query at least, at most 20. At least `least` queries,
    where there are so many.

    >>> shape_of(850, queries=500, documents=10_594), shape_of(850, 30, 10_594)
    ((170, 680), (30, 600))
    """
    asked = min(queries, max(least, texts // (LEAST_EACH + 1)))
    each = min(MOST_EACH, max(LEAST_EACH, (texts - asked) // asked))
    return asked, min(documents, each * asked)


def make_pool(
    dev: Qrels, ranked: Run, data: Dataset, *, texts: int, seed: int, least: int = 1
) -> DevPool:
    """A pool of the shape that `shape_of` gives: some dev queries, their positives, then what the
    base model ranks first for each, second, and so on, and a fifth drawn from all documents.

    `ranked` is what the base model found.
    """
    relevant = dev.relevant()
    random = np.random.default_rng(seed)
    asked = relevant.query_rows
    count, size = shape_of(texts, len(asked), len(data.corpus), least)
    if count < len(asked):
        asked = np.sort(random.choice(asked, count, replace=False))
    relevant = relevant.only(np.isin(relevant.query_rows_M, asked))
    first_M = np.searchsorted(relevant.query_rows_M, relevant.query_rows_M)
    few = relevant.doc_rows_M[np.arange(len(relevant)) - first_M < MOST_POSITIVES]
    home_N = np.arange(len(data.corpus)) if data.home_N is None else np.asarray(data.home_N)
    size = size * len(np.unique(home_N)) // len(home_N)  # whole documents, of several passages each
    rows = dict.fromkeys(few.tolist())
    hard = max(len(rows), int((1 - RANDOM) * size))
    for row in _by_rank(ranked, data, asked):
        if len(rows) >= hard:
            break
        rows[row] = None
    for row in random.permutation(len(data.corpus)) if len(rows) < size else ():
        if len(rows) >= size:
            break
        rows[int(home_N[row])] = None
    return DevPool(asked, np.flatnonzero(np.isin(home_N, list(rows))))


def _by_rank(ranked: Run, data: Dataset, asked: np.ndarray) -> list[int]:
    """Rows of what was found: the first of every query, the second of every query, ..."""
    lists = [list(ranked.get(query, {})) for query in data.queries.ids_of(asked)]
    depth = max(map(len, lists), default=0)
    ids = [found[place] for place in range(depth) for found in lists if place < len(found)]
    ids = list(dict.fromkeys(ids))[: MOST_EACH * len(asked)]
    return [int(row) for row in data.corpus.rows_of(ids) if row >= 0]


def kept_pool(path: Path, data: Dataset, make: Callable[[], DevPool]) -> DevPool:
    """The pool of a run's file, made and written there the first time; the same in every process.
    CheckpointError for a file that names no rows of these data.
    """

    def read() -> DevPool:
        if not path.exists():
            pool = make()
            rows = pool.query_rows_Q.tolist(), pool.doc_rows_N.tolist()
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"queries": rows[0], "documents": rows[1]})
            return pool
        record = readable_json(path, remedy=REMEDY)
        sides = (("queries", len(data.queries)), ("documents", len(data.corpus)))
        columns = [_rows_of(record.get(name), size, path) for name, size in sides]
        return DevPool(columns[0], columns[1])

    return from_leader(read)


def _rows_of(rows: Any, size: int, path: Path) -> np.ndarray:
    whole = isinstance(rows, list) and rows and all(type(row) is int for row in rows)
    if not whole or not 0 <= min(rows) <= max(rows) < size:
        raise CheckpointError(f"{path} is not as it was written. {REMEDY}")
    return np.array(sorted(set(rows)), np.int64)


class PoolJudge:
    """Scores models on one pool by one measure, query by query."""

    def __init__(self, pool: DevPool, dev: Qrels, data: Dataset, config: FitConfig) -> None:
        self.pool = pool
        self.data = data
        self.config = config
        asked = dev.only(
            np.isin(dev.query_rows_M, pool.query_rows_Q) & np.isin(dev.doc_rows_M, pool.doc_rows_N)
        )
        if asked.relevant().query_rows.tolist() != pool.query_rows_Q.tolist():
            raise CheckpointError(
                f"The pool of {config.output or 'this run'} is not of its dev part. {REMEDY}"
            )
        self.judgments = judgments_of(asked, data.queries.ids, data.corpus.ids)
        own_Q = own_documents(data.queries, data.corpus, asked)
        place = {int(row): at for at, row in enumerate(pool.doc_rows_N)}
        self.own_Q = np.array([place.get(int(row), -1) for row in own_Q], np.int64)
        self.home_N: np.ndarray | None = None
        if data.home_N is not None:
            self.home_N = np.array([place[int(data.home_N[row])] for row in pool.doc_rows_N])

    def stored(self, encoder: Encoder, store: Path) -> dict[str, float]:
        """Scores of a model whose vectors lie in a store; what does not is encoded."""
        encode = self.config.encode
        pool = self.pool
        queries = embed_queries(encoder, self.data, pool.query_rows_Q, store=store, config=encode)
        documents = embed_documents(encoder, self.data, pool.doc_rows_N, store=store, config=encode)
        return self._scored(queries.vectors, documents.vectors)

    def judged(self, model: Encoder | Towers) -> dict[str, float]:
        """Scores of a model as it is; the processes of the job share the encoding, and every one
        calls it.
        """
        encode = self.config.encode
        queries = self.data.queries.items(self.pool.query_rows_Q)
        documents = self.data.corpus.items(self.pool.doc_rows_N)
        query_QD = shared_vectors(model, queries, "query", encode)
        doc_ND = shared_vectors(model, documents, "document", encode)
        return self._scored(query_QD, doc_ND)

    def _scored(self, query_QD: np.ndarray, doc_ND: np.ndarray) -> dict[str, float]:
        queries = Embeddings(self.data.queries.ids_of(self.pool.query_rows_Q), query_QD)
        documents = Embeddings(self.data.corpus.ids_of(self.pool.doc_rows_N), doc_ND)
        evaluate = self.config.evaluate
        return scored(
            queries,
            documents,
            self.judgments,
            evaluate.measures[0],
            depth=evaluate.depth,
            own_Q=self.own_Q,
            home_N=self.home_N,
        )
