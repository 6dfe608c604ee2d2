"""The documents nearest to queries by BM25, in a corpus too large to hold its words in memory.

The corpus is read a block at a time, and of each block only the queries' own words are counted.

Shape suffixes: Q queries, B documents of a block, V words of the queries, E entries (a word in a
document), K documents per query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from whet.evaluation.lexical import K1, B, Documents, check_installed, corpus_language
from whet.evaluation.lexical.languages import word_ids
from whet.progress import track

BLOCK = 20_000  # documents whose texts and words are in memory at once
KEPT = 1 << 25  # entries kept from the first reading for the second: 400 MB at most


@dataclass(frozen=True)
class _Block:
    """How often the queries' words stand in some documents, sorted by word, then document."""

    start: int
    words_E: np.ndarray
    docs_E: np.ndarray  # from 0 in the block
    times_E: np.ndarray
    length_B: np.ndarray  # words of each document, the queries' or not


@dataclass(frozen=True)
class _QueryWords:
    """The queries' words: their numbers, and for each query which of them it has, how often."""

    numbers: dict[str, int]
    words_Q: list[np.ndarray]
    times_Q: list[np.ndarray]
    language: str

    @classmethod
    def of(cls, queries: Sequence[str], language: str) -> _QueryWords:
        ids, numbers = word_ids(queries, language)
        pairs = [np.unique(np.array(row, np.int64), return_counts=True) for row in ids]
        return cls(numbers, [words for words, _ in pairs], [times for _, times in pairs], language)


def nearest_by_words(queries: Sequence[str], corpus: Documents, k: int) -> np.ndarray:
    """The rows of the k best documents of each query, int64 [Q, K], best first, of equal score the
    lower row first; -1 where fewer share a word with it.

    The formula and the words are those of `whet.evaluation.lexical.Words`, which holds the corpus's
    words in memory. Here the texts are read twice, first to count in how many documents a word
    stands, then to score; up to 400 MB of counts are kept so that most corpora are read once.
    """
    check_installed()
    asked = _QueryWords.of(queries, corpus_language(corpus))
    k = min(k, len(corpus))
    frequency_V, total, kept = np.zeros(len(asked.numbers), np.int64), 0, []
    room = KEPT
    with track("Counting words", len(corpus), "documents") as advance:
        for block in _blocks(corpus, asked):
            frequency_V += np.bincount(block.words_E, minlength=len(frequency_V))
            total += int(block.length_B.sum())
            room -= len(block.words_E)
            kept += [block] if room >= 0 else []
            advance(len(block.length_B))
    # log(1 + ...): Lucene's, never negative (Kamphuis et al., ECIR 2020).
    idf_V = np.log1p((len(corpus) - frequency_V + 0.5) / (frequency_V + 0.5))
    mean = total / max(1, len(corpus))
    best = _Best(len(queries), k)
    for block in chain(kept, _blocks(corpus, asked, len(kept) * BLOCK)):
        best.take(block, asked, idf_V, mean)
    return best.rows_QK


def _blocks(corpus: Documents, asked: _QueryWords, start: int = 0) -> Iterator[_Block]:
    for first in range(start, len(corpus), BLOCK):
        texts = corpus.texts(np.arange(first, min(first + BLOCK, len(corpus))))
        yield _counted(first, texts, asked)


def _counted(start: int, texts: Sequence[str], asked: _QueryWords) -> _Block:
    ids, numbers = word_ids(texts, asked.language)
    length_B = np.fromiter(map(len, ids), np.int64, len(ids))
    asked_of = np.full(len(numbers) + 1, -1, np.int64)
    for word, number in numbers.items():
        asked_of[number] = asked.numbers.get(word, -1)
    word_M = asked_of[np.fromiter(chain.from_iterable(ids), np.int64, int(length_B.sum()))]
    doc_M = np.repeat(np.arange(len(ids)), length_B)
    here = word_M >= 0
    pair_E, times_E = np.unique(word_M[here] * len(ids) + doc_M[here], return_counts=True)
    return _Block(
        start,
        (pair_E // len(ids)).astype(np.int32),
        (pair_E % len(ids)).astype(np.int32),
        times_E.astype(np.int32),
        length_B,
    )


class _Best:
    """The best documents of each query in the blocks seen."""

    def __init__(self, queries: int, k: int) -> None:
        self.rows_QK = np.full((queries, k), -1, np.int64)
        self.scores_QK = np.full((queries, k), -np.inf)
        self.k = k

    def take(self, block: _Block, asked: _QueryWords, idf_V: np.ndarray, mean: float) -> None:
        """Look at another block, of later rows than all before."""
        size_E = K1 * (1 - B + B * block.length_B[block.docs_E] / max(mean, 1e-9))
        weight_E = idf_V[block.words_E] * block.times_E / (block.times_E + size_E)
        ends = np.searchsorted(block.words_E, np.arange(len(idf_V) + 1))
        for query, (words, times) in enumerate(zip(asked.words_Q, asked.times_Q, strict=True)):
            spans = [slice(ends[word], ends[word + 1]) for word in words]
            if not spans:
                continue
            docs = np.concatenate([block.docs_E[span] for span in spans])
            weights = [weight_E[span] * n for span, n in zip(spans, times, strict=True)]
            score_B = np.bincount(docs, np.concatenate(weights), len(block.length_B))
            self._merge(query, block.start, score_B)

    def _merge(self, query: int, start: int, score_B: np.ndarray) -> None:
        worst = max(0.0, self.scores_QK[query, -1])
        rows = np.flatnonzero(score_B > worst)
        if len(rows) > self.k:
            least = np.partition(score_B[rows], len(rows) - self.k)[len(rows) - self.k]
            rows = rows[score_B[rows] >= least]
        scores = np.concatenate([self.scores_QK[query], score_B[rows]])
        every = np.concatenate([self.rows_QK[query], start + rows])
        order = np.lexsort((every, -scores))[: self.k]
        self.scores_QK[query], self.rows_QK[query] = scores[order], every[order]
