"""BM25 by its formula, and as a model of `whet eval`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from whet.config import EvalConfig
from whet.evaluate.lexical import K1, B, bm25
from whet.model.encoder import Encoder

DOCS = ["cat cat dog", "dog bird", "bird fish x fish fish", "tree", "cat tree dog bird"]


def _formula(query: str, doc: str) -> float:
    """Lucene's: ln(1 + (N - n + 0.5) / (n + 0.5)) tf / (tf + k1 (1 - b + b length / mean))."""
    words = [text.split() for text in DOCS]
    average = sum(map(len, words)) / len(DOCS)
    total = 0.0
    for word in query.split():
        n, tf = sum(word in one for one in words), doc.split().count(word)
        norm = K1 * (1 - B + B * len(doc.split()) / average)
        total += math.log(1 + (len(DOCS) - n + 0.5) / (n + 0.5)) * tf / (tf + norm)
    return total


@pytest.mark.parametrize("query", ["cat", "bird fish", "dog tree cat", "x"])
def test_scores_are_the_formulas_and_other_documents_are_left_out(query: str) -> None:
    scores_QK, rows_QK = bm25(DOCS, [query], 10)
    found = {
        int(row): float(score)
        for row, score in zip(rows_QK[0], scores_QK[0], strict=True)
        if row >= 0
    }
    expected = {row: _formula(query, doc) for row, doc in enumerate(DOCS)}
    assert found == pytest.approx(
        {row: score for row, score in expected.items() if score > 0}, rel=1e-5
    )
    assert (np.diff(scores_QK[0]) <= 0).all()


def test_words_are_stemmed_and_stop_words_left_out() -> None:
    rows = bm25(["the running dogs", "the cats"], ["dog runs", "the"], 2)[1]
    assert rows.tolist() == [[0, -1], [-1, -1]]


def test_it_is_judged_and_compared_like_a_model(
    tiny_data: Path, tmp_path: Path, tiny_model: Path
) -> None:
    from whet.commands import evaluate_job
    from whet.evaluate import Comparison

    config = EvalConfig(baseline="bm25", output=str(tmp_path / "out"))
    config.data.path, config.model.name = str(tiny_data), str(tiny_model)
    _, found = evaluate_job(config)
    assert isinstance(found, Comparison)
    assert found.main.base > 0.9  # queries are words of their documents
    assert (tmp_path / "out" / "trec" / "baseline.run.gz").exists()


def test_it_has_no_vectors() -> None:
    from whet.errors import ConfigError

    with pytest.raises(ConfigError, match="bm25 counts words and has no vectors"):
        Encoder.load("bm25")
