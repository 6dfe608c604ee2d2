"""What some queries found before and after."""

from __future__ import annotations

from typing import Any

import numpy as np

from whet.adaptation.adapted import Given
from whet.evaluation.lexical.hybrid import HybridSearch
from whet.mining.search import search
from whet.model.encoder import Encoder
from whet.model.towers import Towers

SHOWN, LISTED, LOOKED_AT = 5, 5, 200  # queries, documents of each, queries they are chosen from
GLIMPSE = 400  # characters of a document


def examples_of(after: Towers, before: Encoder | Towers, given: Given) -> list[dict[str, Any]]:
    """The queries, of some of the log or else of the data, whose first documents changed most, and
    these documents before and after; none where there is no query.
    """
    texts = given.log or given.data.queries.texts(
        np.arange(min(LOOKED_AT, len(given.data.queries)))
    )
    drawn = np.sort(np.random.default_rng(given.seed).permutation(len(texts))[:LOOKED_AT])
    texts = [texts[int(place)] for place in drawn]
    if not texts:
        return []
    old_QK, new_QK = (_found(model, texts, given) for model in (before, after))
    moved = [len(np.setdiff1d(new, old)) for new, old in zip(new_QK, old_QK, strict=True)]
    order = np.argsort(-np.array(moved), kind="stable")[:SHOWN]
    return [
        {
            "query": texts[place],
            "before": _listed(old_QK[place], given),
            "after": _listed(new_QK[place], given),
        }
        for place in order
    ]


def _found(model: Encoder | Towers, texts: list[str], given: Given) -> np.ndarray:
    query_QD = model.side("query").encode(texts, kind="query", config=given.encode)
    k = min(LISTED, len(given.corpus))
    if model.words:
        found = HybridSearch(texts, given.words, model.words)
        return found(query_QD, given.corpus.vectors, k)[1]
    return search(query_QD, given.corpus.vectors, k)[1]


def _listed(rows_K: np.ndarray, given: Given) -> list[dict[str, str]]:
    ids, texts = given.data.corpus.ids_of(rows_K), given.data.corpus.texts(rows_K)
    pairs = zip(ids, texts, strict=True)
    return [{"id": doc_id, "text": " ".join(text[:GLIMPSE].split())} for doc_id, text in pairs]
