"""BM25: words in common, by how rare they are. A baseline that needs no model, and a help to one.

Shape suffixes: Q queries, N documents, K documents per query.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from whet.data.table import TextTable
from whet.errors import EnvironmentRefused
from whet.evaluation.lexical.languages import language_of, stems
from whet.version import install_line

READ = 200  # documents whose language is looked at
K1, B = 0.9, 0.4  # Anserini's, used for BEIR (Kamalloo et al., arXiv 2306.07471)


class Documents(Protocol):
    """What is read of a corpus."""

    def __len__(self) -> int:
        """How many documents there are."""
        ...

    def texts(self, rows: np.ndarray) -> list[str]:
        """The texts of the rows."""
        ...


class Words:
    """The words of a corpus, to be searched by BM25. Usable from any thread.

    Lucene's formula, by bm25s (Lù, arXiv 2407.03618). What a word is, is in languages.py.
    """

    def __init__(self, documents: Sequence[str], language: str = "english") -> None:
        """Count the words of each document. EnvironmentRefused without bm25s."""
        check_installed()
        import bm25s

        self._documents, self._language = len(documents), language
        words = stems(documents, language)
        self._index = bm25s.BM25(k1=K1, b=B, method="lucene") if any(words) else None
        if self._index is not None:  # bm25s cannot hold a corpus without a word
            self._index.index(words, show_progress=False)
            scores, starts = self._index.scores["data"], self._index.scores["indptr"]
            self._most_V = np.maximum.reduceat(scores, starts[:-1])  # each word is somewhere

    def __len__(self) -> int:
        return self._documents

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """BM25 of every document for each query, float32 [Q, N]; 0 without a word in common."""
        scores_QN = np.zeros((len(queries), len(self)), np.float32)
        if self._index is not None:
            for row, words in enumerate(stems(queries, self._language)):
                known = self._index.get_tokens_ids(words)
                if known:
                    scores_QN[row] = self._index.get_scores_from_ids(known)
        return scores_QN

    def shares(self, queries: Sequence[str]) -> np.ndarray:
        """The scores over what each query could score at most, had a document all its words in the
        corpus as strongly as any: 0 to 1, float32 [Q, N].

        So a query few of whose words are found says little, as the theoretical bounds of Bruch,
        Gai and Ingber (ACM TOIS 2023) have it.
        """
        scores_QN = self.scores(queries)
        if self._index is not None:
            for row, words in enumerate(stems(queries, self._language)):
                most = self._most_V[self._index.get_tokens_ids(words)].sum()
                scores_QN[row] /= most or 1
        return scores_QN

    def best(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best documents of each query: scores_QK (float32) and rows_QK (int64), best first.

        A document without a word of the query is none: its row is -1.
        """
        k = min(k, len(self))
        hits = np.zeros((len(queries), k), np.float32), np.full((len(queries), k), -1)
        for number, query in enumerate(queries):  # one at a time: a corpus may be large
            score_N = self.scores([query])[0]
            rows = np.flatnonzero(score_N)
            rows = rows[np.lexsort((rows, -score_N[rows]))][:k]
            hits[0][number, : len(rows)] = score_N[rows]
            hits[1][number, : len(rows)] = rows
        return hits


def check_installed() -> None:
    """EnvironmentRefused without the packages that count words."""
    if any(find_spec(name) is None for name in ("bm25s", "Stemmer")):
        raise EnvironmentRefused(
            f"Counting words (BM25) needs bm25s and PyStemmer. Run `{install_line('bm25')}`."
        )


def corpus_words(corpus: TextTable, language: str = "english") -> Words:
    """Those of all documents of a data set."""
    return Words(corpus.texts(np.arange(len(corpus))), language)


def corpus_language(corpus: Documents) -> str:
    """The language that its documents are counted in, by a sample of them."""
    step = max(1, len(corpus) // READ)
    return language_of(corpus.texts(np.arange(0, len(corpus), step)[:READ]))
