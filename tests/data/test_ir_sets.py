"""Sets by the names of ir_datasets, with a package that stands in for it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whet.data.load import load_dataset
from whet.errors import DataError, EnvironmentRefused


def row(text: str = "", **fields: Any) -> SimpleNamespace:
    return SimpleNamespace(default_text=lambda: text, **fields)


def part(*judged: tuple[str, str, int]) -> SimpleNamespace:
    return SimpleNamespace(
        has_docs=lambda: True,
        has_queries=lambda: True,
        has_qrels=lambda: bool(judged),
        docs_iter=lambda: [row("ants live in hills", doc_id="d1"), row("bees", doc_id="d2")],
        queries_iter=lambda: [row("where do ants live", query_id="q1")],
        qrels_iter=lambda: [
            SimpleNamespace(query_id=q, doc_id=d, relevance=grade) for q, d, grade in judged
        ],
    )


SETS = {"x": part(), "x/train": part(("q1", "d1", 2)), "x/test": part(("q1", "d2", 0))}


@pytest.mark.parametrize(
    ("name", "splits"),
    [("irds:x", {"train": 2, "test": 0}), ("irds:x/test", {"test": 0})],
)
def test_a_set_is_read_with_its_splits(
    name: str, splits: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=SETS.__getitem__))
    data = load_dataset(name, cache_dir=tmp_path)
    assert {split: qrels.relevance_M.tolist() for split, qrels in data.splits.items()} == {
        split: [grade] for split, grade in splits.items()
    }
    assert data.corpus.texts([0, 1]) == ["ants live in hills", "bees"]
    with pytest.raises(DataError, match="irds:y: ir_datasets knows no such set"):
        load_dataset("irds:y", cache_dir=tmp_path)


def test_without_the_package_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(EnvironmentRefused, match=r'Run `pip install "whet-search\[irds\]"`'):
        load_dataset("irds:beir/scifact", cache_dir=tmp_path)
