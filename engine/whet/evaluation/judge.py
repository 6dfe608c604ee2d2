"""From vectors to scores in one call: what `whet eval` and the end of `whet fit` do with a
model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from whet.config import EncodeConfig, EvaluateConfig
from whet.data.joined import SEPARATOR
from whet.data.load import Dataset
from whet.data.positives import own_documents
from whet.encoding.corpus import Pace, embed, embed_part, embed_queries
from whet.errors import DataError
from whet.evaluation.comparison import html_table
from whet.evaluation.lexical import Words, check_installed, corpus_language
from whet.evaluation.lexical.hybrid import HybridSearch
from whet.evaluation.lexical.languages import counted_in
from whet.evaluation.lexical.words import ChosenDocuments, part_of
from whet.evaluation.measures import Scores, check_measures, check_places, score
from whet.evaluation.pool.choose import DocumentPool
from whet.evaluation.pool.size import PoolSize
from whet.evaluation.retrieval import Search, documents_found, retrieve, run_of, without_own
from whet.evaluation.trec import Judgments, Run
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.progress import say
from whet.types import CorpusShard, Embeddings, Qrels


@dataclass(frozen=True)
class Evaluation:
    """One system on one split: its run and how it scores; `pool` where it did not search all
    documents.
    """

    run: Run
    scores: Scores
    pool: PoolSize | None = None
    sets: Mapping[str, Evaluation] = field(default_factory=dict)  # of several data sets: each one's

    @property
    def judged_on(self) -> str:
        """`on 500 queries`, and on which pool."""
        return f"on {len(self.run):,} queries" + (f" and {self.pool.of_all}" if self.pool else "")

    def __repr__(self) -> str:
        """A line per measure."""
        lines = [f"{name:<10} {value:.4f}" for name, value in self.scores.means.items()]
        return "\n".join([*lines, self.judged_on])

    def _repr_html_(self) -> str:
        cells = [(name, f"{value:.4f}") for name, value in self.scores.means.items()]
        return html_table(("measure", self.judged_on), cells)


def evaluate_run(
    queries: Embeddings,
    corpus: Embeddings | CorpusShard,
    judgments: Judgments,
    config: EvaluateConfig,
    *,
    ignore_identical_ids: bool = False,
    own_Q: np.ndarray | None = None,
    home_N: np.ndarray | None = None,
    search: Search | None = None,
) -> Evaluation:
    """Retrieve `config.depth` documents for every query and score them with `config.measures`.

    Keywords are those of `retrieve`. Raises ConfigError and DataError as `check_measures`,
    `retrieve` and `score`.
    """
    measures = check_measures(config.measures, config.depth)
    scores_QK, rows_QK = retrieve(
        queries,
        corpus,
        config.depth,
        ignore_identical_ids=ignore_identical_ids,
        own_Q=own_Q,
        home_N=home_N,
        search=search,
    )
    run = run_of(scores_QK, rows_QK, queries.ids, corpus.ids)
    return Evaluation(run, score(run, judgments, measures))


def judgments_of(qrels: Qrels, query_ids: Sequence[str], doc_ids: Sequence[str]) -> Judgments:
    """Judgments by row as judgments by id.

    Raises DataError for a relevance that is no whole number.

    >>> qrels = Qrels(np.array([0, 0]), np.array([1, 0]), np.array([2, 0]))
    >>> judgments_of(qrels, ["q"], ["a", "b"])
    {'q': {'b': 2, 'a': 0}}
    """
    judgments: Judgments = {}
    columns_M = (qrels.query_rows_M, qrels.doc_rows_M, qrels.relevance_M)
    for query_row, doc_row, relevance in zip(*map(np.ndarray.tolist, columns_M), strict=True):
        query_id, doc_id = query_ids[query_row], doc_ids[doc_row]
        if int(relevance) != relevance:
            raise DataError(
                f"qrels: relevance {relevance} of document {doc_id!r} for query {query_id!r} is no "
                "whole number, and measures need grades such as 0, 1, 2. Multiply or round it."
            )
        judgments.setdefault(query_id, {})[doc_id] = int(relevance)
    return judgments


def judge(
    encoder: Encoder | Towers,
    data: Dataset,
    qrels: Qrels,
    *,
    store: Path,
    config: EvaluateConfig,
    encode: EncodeConfig | None = None,
    pace: Pace | None = None,
    pool: DocumentPool | None = None,
) -> Evaluation:
    """Search all documents, or a pool of them, for every judged query, by words too where the model
    counts them, and score the result.
    """
    weight = encoder.words
    if weight:
        check_installed()  # before anything is encoded
    asked = _Searched(data, qrels, pool)
    check_places(config.measures, config.depth, asked.judgments)
    corpus: Embeddings | CorpusShard
    if pool is None:
        queries, corpus = embed(encoder, data, qrels, store=store, config=encode, pace=pace)
    else:
        rows = qrels.query_rows
        queries = embed_queries(encoder, data, rows, store=store, config=encode)
        corpus = embed_part(encoder, data, pool.rows_S, store=store, config=encode)
    search = None
    if weight:
        texts = data.queries.texts(qrels.query_rows)
        words = asked.words(encoder.language, part_of(corpus))
        search = HybridSearch(texts, words, weight)
    evaluation = evaluate_run(
        queries,
        corpus,
        asked.judgments,
        config,
        own_Q=asked.own_Q,
        home_N=asked.home_N,
        search=search,
    )
    return replace(evaluation, pool=pool.size if pool else None)


def of_sets(sets: Mapping[str, Evaluation], documents: Mapping[str, int]) -> Evaluation:
    """One system on several data sets: each mean is the mean over the sets. Ids have the set's name
    before them. `documents` are the sizes of their corpora.
    """
    run = {
        f"{name}{SEPARATOR}{query}": {
            f"{name}{SEPARATOR}{doc}": value for doc, value in found.items()
        }
        for name, one in sets.items()
        for query, found in one.run.items()
    }
    measures = next(iter(sets.values())).scores.means
    means = {
        measure: math.fsum(one.scores.means[measure] for one in sets.values()) / len(sets)
        for measure in measures
    }
    per_query = {
        measure: {
            f"{name}{SEPARATOR}{query}": value
            for name, one in sets.items()
            for query, value in one.scores.per_query[measure].items()
        }
        for measure in measures
    }
    return Evaluation(run, Scores(means, per_query), _pool_of_sets(sets, documents), sets)


def _pool_of_sets(sets: Mapping[str, Evaluation], documents: Mapping[str, int]) -> PoolSize | None:
    """All pools as one, where at least one of the sets is judged on one."""
    if all(one.pool is None for one in sets.values()):
        return None
    searched = [one.pool.documents if one.pool else documents[name] for name, one in sets.items()]
    return PoolSize(sum(searched), sum(documents.values()))


class _Searched:
    """What is asked of which documents, by their places in the pool where there is one."""

    def __init__(self, data: Dataset, qrels: Qrels, pool: DocumentPool | None) -> None:
        self.corpus, self.pool = data.corpus, pool
        self.judgments = judgments_of(qrels, data.queries.ids, data.corpus.ids)
        own_Q = own_documents(data.queries, data.corpus, qrels)
        self.home_N = data.home_N
        if pool is not None:
            own_Q = _places(own_Q, pool.rows_S)
            if data.home_N is not None:
                self.home_N = _places(data.home_N[pool.rows_S], pool.rows_S)
        self.own_Q = None if (own_Q < 0).all() else own_Q  # None: no query is a document

    @property
    def ids(self) -> Sequence[str]:
        """Of the documents."""
        return self.corpus.ids if self.pool is None else self.corpus.ids_of(self.pool.rows_S)

    def words(self, language: str = "english", part: slice | None = None) -> Words:
        """Those of the documents, or of this process's part of them."""
        documents = (
            self.corpus if self.pool is None else ChosenDocuments(self.corpus, self.pool.rows_S)
        )
        return Words(documents, language, part)


def _places(rows_M: np.ndarray, rows_S: np.ndarray) -> np.ndarray:
    """Where rows of the corpus stand among those of a pool, -1 for those that are not in it."""
    place_M = np.minimum(np.searchsorted(rows_S, rows_M), len(rows_S) - 1)
    return np.where(rows_S[place_M] == rows_M, place_M, -1)


def judge_words(
    data: Dataset,
    qrels: Qrels,
    config: EvaluateConfig,
    *,
    pool: DocumentPool | None = None,
    language: str | None = None,
) -> Evaluation:
    """The same by BM25, which has no vectors. Without a language it is the documents' own, and
    said where it is not English.
    """
    measures = check_measures(config.measures, config.depth)
    asked = _Searched(data, qrels, pool)
    check_places(measures, config.depth, asked.judgments)
    depth = config.depth if asked.own_Q is None else config.depth + 1
    if language is None:
        language = corpus_language(data.corpus)
        if language != "english":
            say(f"{counted_in(language)} bm25.language= says otherwise.")
    words, texts = asked.words(language), data.queries.texts(qrels.query_rows)
    hits = documents_found(lambda k: words.best(texts, k), depth, len(words), asked.home_N)
    if asked.own_Q is not None:
        hits = without_own(*hits, asked.own_Q, config.depth)
    run = run_of(*hits, data.queries.ids_of(qrels.query_rows), asked.ids)
    return Evaluation(run, score(run, asked.judgments, measures), pool.size if pool else None)
