"""BM25: words in common, by how rare they are. A baseline that needs no model, and a help to one.

languages.py says what a word is, counts.py counts them, kept.py keeps what was counted, words.py
scores, hybrid.py searches by words and vectors at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whet.data.table import TextTable
from whet.evaluation.lexical.counts import Documents
from whet.evaluation.lexical.languages import check_installed, language_of
from whet.evaluation.lexical.words import K1, B, Words

__all__ = [
    "K1",
    "B",
    "Documents",
    "Words",
    "check_installed",
    "corpus_language",
    "corpus_words",
    "nearest_by_words",
]

READ = 200  # documents whose language is looked at


def corpus_words(corpus: TextTable, language: str = "english", part: slice | None = None) -> Words:
    """Those of all documents of a data set; with `part` of these rows, as `Words` says."""
    return Words(corpus, language, part)


def corpus_language(corpus: Documents) -> str:
    """The language that its documents are counted in, by a sample of them."""
    step = max(1, len(corpus) // READ)
    return language_of(corpus.texts(np.arange(0, len(corpus), step)[:READ]))


def nearest_by_words(queries: Sequence[str], corpus: Documents, k: int) -> np.ndarray:
    """The rows of the k best documents of each query, int64 [Q, K], best first, of equal score the
    lower row first; -1 where fewer share a word with it.
    """
    check_installed()
    return Words(corpus, corpus_language(corpus)).best(queries, k, np.float64)[1]
