"""Search with one version of the model, for a person who waits.

Shape suffixes: N documents, D dimensions, k results, S sentences.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from whet.config import EncodeConfig
from whet.data.load import Dataset
from whet.data.text import sentences_of
from whet.encoding.store import embeddings_folder
from whet.encoding.table import encode_table
from whet.evaluation.lexical import Words, corpus_words
from whet.evaluation.lexical.hybrid import HybridSearch
from whet.mining.search import search
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.types import Item

# One query in 60,000 x 384 on two cores: blas 46 ms, faiss 44, int8 42 after 8 s of compiling.
BACKEND = "blas"
KEPT_DOCUMENTS = 2_000  # whose sentences' vectors are remembered
# A sentence's end (no stop that stands alone, as in `find . -name x`), a blank line, or a row of a
# list or table; other line ends only wrap.


class Searcher:
    """A version of the model and the corpus as it sees it. Usable from any thread."""

    def __init__(
        self,
        version: int,
        encoder: Encoder | Towers,
        data: Dataset,
        config: EncodeConfig,
        *,
        corpus: np.ndarray | None = None,
    ) -> None:
        """Encode what of the corpus the store lacks, unless its vectors are given, and search once
        so that nothing is cold.
        """
        self.version = version
        self.name = f"{version}:{encoder.fingerprint()[:16]}"
        self._encoder, self._config = encoder, config
        self._turn = threading.Lock()  # tokenizers cannot be shared by threads
        self._sentences: dict[int, tuple[list[str], np.ndarray]] = {}
        if corpus is None:
            corpus = encode_table(
                encoder, data.corpus, kind="document", store=embeddings_folder(), config=config
            ).vectors
        self.corpus = corpus
        self._weight = encoder.words
        counted = corpus_words(data.corpus, encoder.language) if self._weight else None
        self._words: Words | None = counted
        self.best(["a first query"], self.vectors([encoder.side("query").filler]), 1)

    def vectors(self, queries: Sequence[Item]) -> np.ndarray:
        """Vectors of queries, float32 [Q, D]."""
        return self._encode(queries, "query")

    def best(
        self, queries: Sequence[str], query_QD: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows [Q, k] of the best documents; fewer where the corpus is smaller."""
        if self._words is not None:
            return HybridSearch(queries, self._words, self._weight)(query_QD, self.corpus, k)
        return search(query_QD, self.corpus, min(k, len(self.corpus)), backend=BACKEND)

    def best_among(
        self, queries: Sequence[str], query_QD: np.ndarray, rows_M: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same among the documents of some rows, ascending."""
        if self._words is not None:
            hybrid = HybridSearch(queries, self._words, self._weight)
            return hybrid.among(query_QD, self.corpus, rows_M, k)
        part_MD = self.corpus[rows_M]
        score_QK, place_QK = search(query_QD, part_MD, min(k, len(rows_M)), backend=BACKEND)
        return score_QK, rows_M[place_QK]

    def best_sentence(self, query_1D: np.ndarray, row: int, text: str) -> str:
        """The sentence of a document that is nearest to the query; "" where it has but one."""
        known = self._sentences.get(row)
        if known is None:
            sentences = sentences_of(text)
            vector_SD = unit(self._encode(sentences, "document"))
            while len(self._sentences) >= KEPT_DOCUMENTS:
                self._sentences.pop(next(iter(self._sentences)), None)
            known = self._sentences[row] = sentences, vector_SD
        sentences, vector_SD = known
        if len(sentences) < 2:
            return ""
        return sentences[int(np.argmax(vector_SD @ query_1D[0]))]

    def _encode(self, items: Sequence[Item], kind: str) -> np.ndarray:
        with self._turn:
            return self._encoder.encode(items, kind=kind, config=self._config)


def unit(vector_ND: np.ndarray) -> np.ndarray:
    """The vectors at length 1; a zero vector stays.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    length_N1 = np.linalg.norm(vector_ND, axis=1, keepdims=True)
    return vector_ND / np.where(length_N1 == 0, 1, length_N1)
