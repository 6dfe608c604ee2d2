"""Which judgments are wanted next: 25 queries of the log, or documents to write a query for.

Each from another cluster, and of a cluster that whose answers by words and by vectors differ most:
a judgment there says which of the two is right.

Shape suffixes: Q queries, K documents per query, P documents that are encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whet.adaptation.clusters import clusters_of, evenly
from whet.data.load import Dataset
from whet.data.text import sentences_of
from whet.evaluation.lexical import Words
from whet.mining.search import search
from whet.model.encoder import Encoder
from whet.types import Embeddings

if TYPE_CHECKING:
    from whet.adaptation.planned.within import SomeEncoded

WANTED = 25
LOOKED_AT = 500  # queries, or documents, that the 25 are chosen from
COMPARED = 10  # documents that words and vectors each put first
GLIMPSE = 300  # characters of a document


@dataclass(frozen=True)
class Wanted:
    """Queries to judge; without a log, documents to write one for (`doc_ids`)."""

    queries: list[str]
    doc_ids: list[str]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.queries) or len(self.doc_ids)

    def rows(self) -> list[dict[str, Any]]:
        """As lines of a file: a query is filled in where a document asks for one."""
        if self.queries:
            return [{"query": query} for query in self.queries]
        pairs = zip(self.doc_ids, self.texts, strict=True)
        return [{"query": "", "doc_id": doc_id, "text": text} for doc_id, text in pairs]


def wanted_of(
    data: Dataset,
    log: Sequence[str],
    corpus: Embeddings,
    *,
    encoder: Encoder,
    words: Words,
    seed: int,
    some: SomeEncoded | None = None,
) -> Wanted:
    """The 25 queries of the log whose judgment is wanted; without one, 25 documents, each asked for
    by its first sentence. Where `some` documents are encoded, `corpus` has the vectors of these.
    """
    row_of_P = np.arange(len(data.corpus)) if some is None else some.rows_P
    random = np.random.default_rng(seed)
    if log:
        drawn = np.sort(random.permutation(len(log))[:LOOKED_AT])
        texts = [log[int(place)] for place in drawn]
        query_QD = encoder.encode(texts, kind="query")
        chosen = _most_at_odds(query_QD, _odds(texts, query_QD, corpus, words, row_of_P), seed=seed)
        return Wanted([texts[place] for place in chosen], [], [])
    if some is None:
        clusters = clusters_of(corpus.vectors, WANTED, seed=seed)
        rows = evenly(clusters, LOOKED_AT, seed=seed)
    else:  # those whose nearest by words were encoded, too
        rows = some.drawn_S
    first = [sentences_of(text)[0] for text in data.corpus.texts(rows)]
    query_QD = encoder.encode(first, kind="query")
    chosen = _most_at_odds(query_QD, _odds(first, query_QD, corpus, words, row_of_P), seed=seed)
    kept = rows[chosen]
    glimpses = [" ".join(text[: 2 * GLIMPSE].split())[:GLIMPSE] for text in data.corpus.texts(kept)]
    return Wanted([], data.corpus.ids_of(kept), glimpses)


def _odds(
    texts: Sequence[str],
    query_QD: np.ndarray,
    corpus: Embeddings,
    words: Words,
    row_of_P: np.ndarray,
) -> np.ndarray:
    """How many of the first ten documents by vectors are not among those by words, [Q]; 0 where
    words find nothing, which is no answer to compare. `row_of_P` are the rows of the vectors.
    """
    k = min(COMPARED, len(corpus))
    by_vectors_QK = row_of_P[search(query_QD, corpus.vectors, k)[1]]
    by_words_QK = words.best(texts, k)[1]
    both = zip(by_vectors_QK, by_words_QK, strict=True)
    return np.array(
        [len(np.setdiff1d(vectors, found)) if (found >= 0).any() else 0 for vectors, found in both]
    )


def _most_at_odds(query_QD: np.ndarray, odds_Q: np.ndarray, *, seed: int) -> np.ndarray:
    """Places of 25 queries: the one most at odds of each cluster, then the next of each."""
    cluster_Q = clusters_of(query_QD, WANTED, seed=seed)
    order_Q = np.lexsort((np.arange(len(odds_Q)), -odds_Q, cluster_Q))
    sorted_Q = cluster_Q[order_Q]
    turn_Q = np.arange(len(order_Q)) - np.searchsorted(sorted_Q, sorted_Q)
    chosen: np.ndarray = order_Q[np.lexsort((-odds_Q[order_Q], turn_Q))][:WANTED]
    return chosen
