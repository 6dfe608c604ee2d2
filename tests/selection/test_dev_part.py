"""What is held out to choose by: whole queries, together where they share a document, the same for
the same data and seed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learnable import write_set

from whet.config import DataConfig, FitConfig, SelectConfig
from whet.data.load import Dataset, load_dataset
from whet.evaluation.selection.dev_part import Parts, _drawn, _together, hold_out_dev, parts_of
from whet.types import Qrels


@pytest.fixture(scope="module")
def data(learnable: Path) -> Dataset:
    return load_dataset(str(learnable))


def parts(data: Dataset, seed: int = 0, **select: object) -> Parts:
    config = FitConfig(data=DataConfig(path=data.path), seed=seed)
    return parts_of(data, replace(config, select=replace(SelectConfig(), **select)))


def held(parts: Parts) -> set[int]:
    assert parts.dev is not None
    return set(parts.dev.query_rows.tolist())


@pytest.mark.parametrize(
    ("select", "count"),
    [
        ({}, 40),  # 100 would be over a fifth of 200
        ({"at_least": 10}, 20),
        ({"at_least": 10, "share": 0.25}, 40),
        ({"at_most": 15}, 15),
    ],
)
def test_whole_queries_are_held_out_as_many_as_asked(
    data: Dataset, select: dict[str, object], count: int
) -> None:
    train = data.split("train")
    divided = parts(data, **select)
    assert divided.dev is not None and len(held(divided)) == count
    assert not held(divided) & set(divided.train.query_rows.tolist())
    assert len(divided.train) + len(divided.dev) == len(train)
    assert divided.about_dev == f"{count} of the 200 train queries, held out"


def test_they_follow_from_texts_and_seed_whatever_the_order(
    data: Dataset, tmp_path: Path, learnable: Path
) -> None:
    assert held(parts(data)) == held(parts(data)) != held(parts(data, seed=1))
    (tmp_path / "turned/qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl"):
        lines = (learnable / name).read_text().splitlines()
        (tmp_path / "turned" / name).write_text("\n".join(reversed(lines)) + "\n")
    for name in ("train.tsv", "test.tsv"):
        head, *lines = (learnable / "qrels" / name).read_text().splitlines()
        (tmp_path / "turned/qrels" / name).write_text("\n".join([head, *reversed(lines)]) + "\n")
    turned = load_dataset(str(tmp_path / "turned"))
    ids = [{set_.queries.id(row) for row in held(parts(set_))} for set_ in (data, turned)]
    assert ids[0] == ids[1]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), min_size=1, max_size=60))
def test_groups_are_the_connected_parts(pairs: list[tuple[int, int]]) -> None:
    """Against a search from each query, over documents and equal texts."""
    queries = sorted({query for query, _ in pairs})
    text_Q = np.array([query // 3 for query in queries])  # three queries have one text
    place_E = np.array([queries.index(query) for query, _ in pairs])
    document_E = np.array([document for _, document in pairs])
    group_Q = _together(text_Q, place_E, document_E)
    for first in range(len(queries)):
        reached, new = {first}, {first}
        while new:
            documents = {d for at, d in zip(place_E, document_E, strict=True) if at in new}
            near = {int(at) for at, d in zip(place_E, document_E, strict=True) if d in documents}
            near |= {at for at in range(len(queries)) if text_Q[at] in {text_Q[n] for n in new}}
            new = near - reached
            reached |= near
        assert set(np.flatnonzero(group_Q == group_Q[first]).tolist()) == reached


def test_whole_groups_are_drawn_as_long_as_they_fit() -> None:
    group_Q = np.array([0, 0, 0, 1, 2, 2, 3])
    hash_Q = np.array([5, 1, 9, 2, 3, 8, 4], np.uint64)
    held_Q = _drawn(group_Q, hash_Q, 4)
    assert held_Q.tolist() == [True, True, True, True, False, False, False]
    assert _drawn(group_Q, hash_Q, 3).sum() == 3


def test_queries_that_share_documents_are_on_one_side(data: Dataset) -> None:
    """Every two neighbours also share a document."""
    train = data.split("train")
    rows, docs = np.asarray(train.query_rows_M), np.asarray(train.doc_rows_M)
    both = np.concatenate([rows, rows[1::2]]), np.concatenate([docs, docs[0::2]])
    order = np.lexsort(both[::-1])
    shared = Qrels(both[0][order], both[1][order], np.ones(len(order), np.int64))
    rest, dev, about = hold_out_dev(data, shared, SelectConfig(), 0)
    assert dev is not None and len(dev.query_rows) == 40
    assert not set(rest.doc_rows_M.tolist()) & set(dev.doc_rows_M.tolist())
    assert about.endswith("held out")


def test_where_one_document_answers_all_single_queries_are_held_out(data: Dataset) -> None:
    train = data.split("train")
    rows = train.query_rows
    hub = Qrels(rows, np.zeros(len(rows), np.int64), np.ones(len(rows), np.int64))
    rest, dev, about = hold_out_dev(data, hub, SelectConfig(), 0)
    assert dev is not None and len(dev.query_rows) == 40 and len(rest.query_rows) == 160
    assert about.endswith("held out; others ask for the same documents")


def test_too_few_queries_and_no_choice_leave_train_whole(tmp_path: Path, data: Dataset) -> None:
    few = load_dataset(str(write_set(tmp_path / "few", 30)))
    divided = parts(few)
    assert divided.dev is None and len(divided.train) == 24
    assert parts(data, policy="last") == Parts(*_last(data))


def _last(data: Dataset) -> tuple[Qrels, None, Qrels]:
    divided = parts(data, policy="last")
    assert len(divided.train) == len(data.split("train")) and divided.dev is None
    return divided.train, None, divided.judged


def test_a_dev_split_that_nobody_uses_is_taken_instead(learnable: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(learnable, tmp_path / "with dev"))
    head, *rows = (folder / "qrels/test.tsv").read_text().splitlines()
    for name, part in (("test", rows[:25]), ("validation", rows[25:])):
        (folder / f"qrels/{name}.tsv").write_text("\n".join([head, *part]) + "\n")
    data = load_dataset(str(folder))
    divided = parts(data)
    assert divided.dev is not None and len(divided.train) == 200
    assert divided.about_dev.startswith("25 queries of the split")
    assert len(held(parts(data, at_most=10))) == 10
    config = FitConfig(data=DataConfig(path=str(folder), eval_split="validation"))
    judged_by_it = parts_of(data, config)
    assert judged_by_it.about_dev.endswith("train queries, held out")
