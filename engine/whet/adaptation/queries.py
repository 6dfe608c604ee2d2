"""Queries made from documents, of several kinds: what a person might have typed to find each.

Keywords, a sentence, a run of words, a title. Mixed kinds are safer than any one (Tamber et al.,
arXiv 2505.19274), and a sample that is even over the topics of a corpus does as well as all of it
(DUQGen, arXiv 2404.02489).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whet.adaptation.clusters import clusters_of, evenly
from whet.data.text import sentences_of
from whet.evaluation.lexical import Documents, Words
from whet.evaluation.lexical.word_counts import idf_of, words_of

PER_KIND = 800
CLUSTERS = 256
MOST_DOCUMENTS = 100_000  # that queries are made from: drawn at random where there are more
KEYWORDS, CROP, SENTENCE, TITLE = (2, 6), (3, 14), (4, 40), (2, 16)  # words, from and to
BEGINNING = 4_000  # characters of a document that are looked at

Make = Callable[[str, dict[str, float], np.random.Generator], str | None]


@dataclass(frozen=True)
class MadeQuery:
    """A query, its kind, and the row of the document it was made from."""

    text: str
    kind: str
    row: int


def made_queries(
    corpus: Documents, vector_ND: np.ndarray, words: Words, *, seed: int
) -> list[MadeQuery]:
    """At most 800 queries of each kind, kind by kind, of documents from all clusters of the corpus
    alike; which document has which is a function of the seed. `words` are those of the corpus as
    they stand (UNSTEMMED).

    A kind that fewer than half as many documents give as are asked is left out: a corpus in which
    few documents have a title has no titles to learn from.
    """
    random = np.random.default_rng(seed)
    rows_S = np.sort(random.permutation(len(corpus))[:MOST_DOCUMENTS])
    cluster_S = clusters_of(vector_ND[rows_S], CLUSTERS, seed=seed)
    made: list[MadeQuery] = []
    for number, (kind, make) in enumerate(KINDS.items()):
        rows = rows_S[evenly(cluster_S, len(rows_S), seed=seed + 1 + number)]
        queries = _of_kind(kind, make, corpus, rows, words=words, random=random)
        if 2 * len(queries) >= min(PER_KIND, len(rows)):
            made += queries
    return made


def _of_kind(
    kind: str,
    make: Make,
    corpus: Documents,
    rows: np.ndarray,
    *,
    words: Words,
    random: np.random.Generator,
) -> list[MadeQuery]:
    """Those of a kind, from the documents in this order, until there are enough."""
    queries: list[MadeQuery] = []
    for start in range(0, min(len(rows), 4 * PER_KIND), PER_KIND):
        part = rows[start : start + PER_KIND]
        texts = [text[:BEGINNING] for text in corpus.texts(part)]
        idf = idf_of(texts, words) if make is _keywords else {}  # no other kind asks how rare
        for row, text in zip(part.tolist(), texts, strict=True):
            query = make(text, idf, random)
            if query is not None and len(queries) < PER_KIND:
                queries.append(MadeQuery(query, kind, row))
    return queries


def _keywords(text: str, idf: dict[str, float], random: np.random.Generator) -> str | None:
    """Words of the text, each as likely as its idf squared is large, in their order."""
    words = list(dict.fromkeys(words_of(text)))
    weight = np.array([idf[word] ** 2 if len(word) > 1 else 0.0 for word in words])
    size = int(random.integers(KEYWORDS[0], KEYWORDS[1] + 1))
    if int((weight > 0).sum()) < size:
        return None
    chosen = random.choice(len(words), size, replace=False, p=weight / weight.sum())
    return " ".join(words[place] for place in sorted(chosen))


def _sentence(text: str, idf: dict[str, float], random: np.random.Generator) -> str | None:
    fitting = [
        sentence
        for sentence in sentences_of(text)
        if SENTENCE[0] <= len(sentence.split()) <= SENTENCE[1]
    ]
    return " ".join(fitting[random.integers(len(fitting))].split()) if fitting else None


def _crop(text: str, idf: dict[str, float], random: np.random.Generator) -> str | None:
    """Some words in a row, as they stand (AugTriever, arXiv 2212.08841)."""
    words = text.split()
    size = int(random.integers(CROP[0], CROP[1] + 1))
    if len(words) < size:
        return None
    start = int(random.integers(len(words) - size + 1))
    return " ".join(words[start : start + size])


def _title(text: str, idf: dict[str, float], random: np.random.Generator) -> str | None:
    """The first line, where there are more and it is short; without the marks of a heading."""
    first, _, rest = text.strip().partition("\n")
    title = first.strip().lstrip("#").strip()
    fits = TITLE[0] <= len(title.split()) <= TITLE[1]
    return title if fits and rest.strip() else None


KINDS: dict[str, Make] = {
    "keywords": _keywords,
    "sentence": _sentence,
    "crop": _crop,
    "title": _title,
}
