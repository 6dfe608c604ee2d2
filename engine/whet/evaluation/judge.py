"""From vectors to scores in one call: what `whet eval` and the end of `whet fit` do with a
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whet.config import EncodeConfig, EvaluateConfig
from whet.data.load import Dataset
from whet.data.positives import own_documents
from whet.encoding.corpus import Pace, embed
from whet.errors import DataError
from whet.evaluation.comparison import html_table
from whet.evaluation.hybrid import HybridSearch
from whet.evaluation.lexical import corpus_words
from whet.evaluation.measures import Scores, check_measures, score
from whet.evaluation.retrieval import Search, documents_found, retrieve, run_of, without_own
from whet.evaluation.trec import Judgments, Run
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.types import CorpusShard, Embeddings, Qrels


@dataclass(frozen=True)
class Evaluation:
    """One system on one split: its run and how it scores."""

    run: Run
    scores: Scores

    def __repr__(self) -> str:
        """A line per measure."""
        lines = [f"{name:<10} {value:.4f}" for name, value in self.scores.means.items()]
        return "\n".join([*lines, f"on {len(self.run):,} queries"])

    def _repr_html_(self) -> str:
        cells = [(name, f"{value:.4f}") for name, value in self.scores.means.items()]
        head = ("measure", f"on {len(self.run):,} queries")
        return html_table(head, cells)


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
) -> Evaluation:
    """Search all documents for every judged query, by words too where the model counts them, and
    score the result.
    """
    queries, corpus = embed(encoder, data, qrels, store=store, config=encode, pace=pace)
    search = None
    if isinstance(encoder, Towers) and encoder.words:
        texts = data.queries.texts(qrels.query_rows)
        search = HybridSearch(texts, corpus_words(data.corpus), encoder.words)
    judgments = judgments_of(qrels, data.queries.ids, data.corpus.ids)
    own_Q, home_N = _own(data, qrels), data.home_N
    return evaluate_run(
        queries, corpus, judgments, config, own_Q=own_Q, home_N=home_N, search=search
    )


def _own(data: Dataset, qrels: Qrels) -> np.ndarray | None:
    """Each judged query's own document; None where no query is a document."""
    own_Q = own_documents(data.queries, data.corpus, qrels)
    return None if (own_Q < 0).all() else own_Q


def judge_words(data: Dataset, qrels: Qrels, config: EvaluateConfig) -> Evaluation:
    """The same by BM25, which has no vectors."""
    measures = check_measures(config.measures, config.depth)
    queries, documents, asked = data.queries, data.corpus, qrels.query_rows
    own_Q = _own(data, qrels)
    depth = config.depth if own_Q is None else config.depth + 1
    words, texts = corpus_words(documents), queries.texts(asked)
    hits = documents_found(lambda k: words.best(texts, k), depth, len(documents), data.home_N)
    if own_Q is not None:
        hits = without_own(*hits, own_Q, config.depth)
    run = run_of(*hits, queries.ids_of(asked), documents.ids)
    return Evaluation(run, score(run, judgments_of(qrels, queries.ids, documents.ids), measures))
