"""Sets by the names of ir_datasets, with a package that stands in for it."""

from __future__ import annotations

import importlib
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


def test_a_set_that_cannot_be_fetched_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch() -> Any:
        raise ConnectionError("no way to\nmirror.example")

    away = SimpleNamespace(**{**vars(SETS["x/test"]), "docs_iter": fetch})
    sets = {"x/test": away}
    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=sets.__getitem__))
    with pytest.raises(EnvironmentRefused, match=r"irds:x/test: .*\(ConnectionError: no way to\)"):
        load_dataset("irds:x/test", cache_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.nightly  # fetches a package
def test_the_real_package_gives_the_same(
    from_index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = from_index("ir_datasets==0.6.3", "lz4", needs=False)  # the rest is installed
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    irds = importlib.import_module("ir_datasets")
    for name, text in (
        ("docs.tsv", "d1\tants live in hills\nd2\tbees\n"),
        ("queries.tsv", "q1\twhere do ants live\n"),
        ("train", "q1 0 d1 2\n"),
        ("test", "q1 0 d2 0\n"),
    ):
        (tmp_path / name).write_text(text)
    texts = {"docs_tsv": str(tmp_path / "docs.tsv"), "queries_tsv": str(tmp_path / "queries.tsv")}
    irds.registry.register("own", irds.create_dataset(**texts))
    for split in ("train", "test"):
        part = irds.create_dataset(**texts, qrels_trec=str(tmp_path / split))
        irds.registry.register(f"own/{split}", part)
    whole, test = (load_dataset(f"irds:{name}") for name in ("own", "own/test"))
    assert {name: qrels.relevance_M.tolist() for name, qrels in whole.splits.items()} == {
        "train": [2],
        "test": [0],
    }
    assert whole.corpus.texts([0, 1]) == ["ants live in hills", "bees"]
    assert whole.queries.texts([0]) == ["where do ants live"]
    assert (whole.name, test.name, list(test.splits)) == ("own", "own", ["test"])
    with pytest.raises(EnvironmentRefused, match="irds:vaswani: ir_datasets could not get it"):
        load_dataset("irds:vaswani")
    with pytest.raises(DataError, match="irds:nothing: ir_datasets knows no such set"):
        load_dataset("irds:nothing")
