"""BM25, the baseline that needs no model: words in common, by how rare they are.

Shape suffixes: Q queries, K documents a query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whet.config import BM25
from whet.errors import EnvironmentRefused

WORD = r"(?u)\b\w+\b"  # as Lucene, words of one letter too
K1, B = 0.9, 0.4  # Anserini's, used for BEIR (Kamalloo et al., arXiv 2306.07471)


def bm25(documents: Sequence[str], queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best documents of each query: scores_QK (float32) and rows_QK (int64), best first.

    Lucene's formula, English stop words and Porter2 stems, by bm25s (Lù, arXiv 2407.03618). A
    document without a word of the query is none: its row is -1. EnvironmentRefused without bm25s.
    """
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise EnvironmentRefused(
            f'model={BM25} needs bm25s and PyStemmer. Install them: pip install "whet[bench]"'
        ) from error
    stems = Stemmer.Stemmer("english")
    options = {"stopwords": "en", "stemmer": stems, "token_pattern": WORD, "show_progress": False}
    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    index.index(bm25s.tokenize(list(documents), **options), show_progress=False)
    asked = bm25s.tokenize(list(queries), **options)
    k = min(k, len(documents))
    rows_QK, scores_QK = index.retrieve(asked, k=k, show_progress=False)
    rows_QK = np.where(scores_QK > 0, rows_QK, -1).astype(np.int64)
    return scores_QK.astype(np.float32), rows_QK
