"""Positives against an obvious oracle; the held-out tenth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.data.splits import eval_split_name, hold_out
from whet.data.table import TextTable, write_table
from whet.data.text import normalise
from whet.errors import DataError
from whet.types import Qrels

QUERIES = ["Ants", "bees", "ants ", "cats", "BEES"]
DOCS = ["one", "two", "One", "three"]


def table(path: Path, texts: list[str]) -> TextTable:
    return write_table(path, ((f"r{row}", text) for row, text in enumerate(texts)))


def qrels_of(judged: dict[tuple[int, int], int]) -> Qrels:
    rows = [(query, doc, grade) for (query, doc), grade in sorted(judged.items())]
    return Qrels(*np.array(rows, np.int64).reshape(-1, 3).T)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextTable, TextTable]:
    root = tmp_path_factory.mktemp("tables")
    return table(root / "queries.arrow", QUERIES), table(root / "corpus.arrow", DOCS)


JUDGED = st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 3)), st.integers(-1, 2))


@settings(max_examples=100, deadline=None)
@given(judged=JUDGED)
def test_positives_equal_the_oracle(
    tables: tuple[TextTable, TextTable], judged: dict[tuple[int, int], int]
) -> None:
    queries, corpus = tables
    positives = positives_of(qrels_of(judged), queries, corpus)
    assert len(positives) == len(QUERIES)
    for row, text in enumerate(QUERIES):
        same = [r for r, other in enumerate(QUERIES) if normalise(other) == normalise(text)]
        wanted = sorted({d for (q, d), grade in judged.items() if q in same and grade >= 1})
        assert positives.of(row).tolist() == wanted
    assert positives.group_of_N.tolist() == [0, 1, 0, 3]
    assert positives.doc_rows_P.dtype == positives.offsets_Q1.dtype == np.int64


def distinct(path: Path, count: int) -> tuple[Qrels, TextTable]:
    """`count` query texts, each in two spellings, each of these with a positive and a negative."""
    queries = table(path, [f"{word}{n}" for word in ("Query ", "query  ") for n in range(count)])
    return qrels_of({(q, d): 1 - d for q in range(2 * count) for d in (0, 1)}), queries


@pytest.mark.parametrize(("count", "held"), [(2, 1), (9, 1), (47, 4), (12_000, 1_000)])
def test_a_tenth_is_held_out(tmp_path: Path, count: int, held: int) -> None:
    qrels, queries = distinct(tmp_path / "q.arrow", count)
    train, kept = hold_out(qrels, queries)
    assert len(np.unique(kept.query_rows % count)) == held
    assert len(kept.query_rows) == 2 * held  # both spellings went together
    assert len(train) + len(kept) == len(qrels)
    assert not set(train.query_rows % count) & set(kept.query_rows % count)


def test_the_held_out_texts_do_not_depend_on_order(tmp_path: Path) -> None:
    texts = [f"query {n}" for n in range(100)]
    chosen = []
    for name, order in (("a", texts), ("b", texts[::-1])):
        queries = table(tmp_path / f"{name}.arrow", order)
        _, kept = hold_out(qrels_of({(q, 0): 1 for q in range(100)}), queries)
        chosen.append({queries.text(int(row)) for row in kept.query_rows})
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 10


def test_a_query_without_a_positive_is_not_chosen(tmp_path: Path) -> None:
    queries = table(tmp_path / "q.arrow", [f"query {n}" for n in range(50)])
    qrels = qrels_of({(q, 0): int(q < 5) for q in range(50)})
    _, kept = hold_out(qrels, queries)
    assert kept.query_rows.tolist() != []
    assert kept.query_rows.max() < 5


def test_one_text_cannot_be_split(tmp_path: Path) -> None:
    qrels, queries = distinct(tmp_path / "q.arrow", 1)
    with pytest.raises(DataError, match="has 1 distinct query text with a relevant document: too"):
        hold_out(qrels, queries)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [(["train", "dev", "test"], "test"), (["train", "dev"], "dev"), (["train"], None)],
)
def test_which_split_is_judged(tmp_path: Path, splits: list[str], expected: str | None) -> None:
    for split in splits:
        (tmp_path / f"{split}.csv").write_text(f"query,positive\nq {split},d\n")
    assert eval_split_name(load_dataset(str(tmp_path))) == expected
