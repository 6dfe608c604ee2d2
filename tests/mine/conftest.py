"""Small tables and data sets for mining tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from whet.data.table import TextTable, write_table
from whet.types import Embeddings, Positives

MakeTable = Callable[[str, Sequence[str]], TextTable]


@pytest.fixture
def make_table(tmp_path: Path) -> MakeTable:
    """A table of ids, each text "text of ID"."""

    def make(name: str, ids: Sequence[str]) -> TextTable:
        return write_table(tmp_path / f"{name}.arrow", [(id_, f"text of {id_}") for id_ in ids])

    return make


@pytest.fixture
def random_data() -> tuple[Embeddings, Embeddings, Positives]:
    """40 queries over 500 documents in 31 dimensions; one to three positives each, near the query.

    Documents 0 to 9 have the text of 10 to 19. Query 7 has no positive.
    """
    rng = np.random.default_rng(0)
    corpus = rng.standard_normal((500, 31)).astype(np.float32)
    corpus /= np.linalg.norm(corpus, axis=1, keepdims=True)
    parts = [np.sort(rng.choice(500, 1 + q % 3, replace=False)) for q in range(40)]
    parts[7] = np.empty(0, np.int64)
    parts[8] = np.array([3, 13])
    centres = [corpus[rows].sum(0) if len(rows) else corpus[0] for rows in parts]
    queries = np.array(centres) + 0.2 * rng.standard_normal((40, 31))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    groups = np.arange(500)
    groups[10:20] = np.arange(10)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return (
        Embeddings([f"q{q}" for q in range(40)], queries.astype(np.float32)),
        Embeddings([f"d{d}" for d in range(500)], corpus),
        Positives(offsets, np.concatenate(parts).astype(np.int64), groups),
    )
