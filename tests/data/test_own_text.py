"""Queries that are documents: no answers to themselves, no negatives; and nothing to learn from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import whet
from whet.config import EvaluateConfig, FitConfig
from whet.data.load import Dataset, load_dataset
from whet.data.positives import own_documents, positives_of
from whet.data.splits import check_splits, eval_qrels, splits_of
from whet.errors import ConfigError, DataError
from whet.evaluation.judge import judge_words
from whet.mining.policy import exclusions
from whet.training.batches.examples import known_positives

TEXTS = {"a": "where is the key", "b": "the key is where it was", "c": "a cat sleeps at night"}


def write(
    root: Path, queries: dict[str, str], judged: list[tuple[str, str]], **splits: object
) -> Dataset:
    (root / "qrels").mkdir(parents=True)
    for name, table in (("corpus", TEXTS), ("queries", queries)):
        lines = (json.dumps({"_id": id_, "text": text}) for id_, text in table.items())
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    for split in splits or ("train", "test"):
        (root / "qrels" / f"{split}.tsv").write_text("".join(f"{q}\t{d}\t1\n" for q, d in judged))
    return load_dataset(str(root), cache_dir=root / "cache")


def test_a_querys_own_document_is_left_out_of_its_ranking(tmp_path: Path) -> None:
    data = write(tmp_path, {"a": TEXTS["a"], "b": TEXTS["b"]}, [("a", "b"), ("b", "a")])
    assert own_documents(data.queries, data.corpus, data.split("test")).tolist() == [0, 1]
    evaluation = judge_words(data, data.split("test"), EvaluateConfig(measures=["RR@10"]))
    assert evaluation.scores.means["RR@10"] == 1.0
    assert "a" not in evaluation.run["a"]


def test_the_document_may_have_a_title_before_the_text(tmp_path: Path) -> None:
    data = write(tmp_path, {"b": "key is where it was"}, [("b", "a")])
    assert own_documents(data.queries, data.corpus, data.split("test")).tolist() == [1]


@pytest.mark.parametrize(
    ("queries", "judged"),
    [({"a": "another text"}, ("a", "b")), ({"a": TEXTS["a"]}, ("a", "a"))],
    ids=["numbered alike", "judged relevant"],
)
def test_it_stays_where_it_is_another_or_an_answer(
    tmp_path: Path, queries: dict[str, str], judged: tuple[str, str]
) -> None:
    data = write(tmp_path, queries, [judged])
    assert own_documents(data.queries, data.corpus, data.split("test")).tolist() == [-1]


def test_a_document_of_the_querys_text_is_never_its_negative(tmp_path: Path) -> None:
    data = write(tmp_path, {"x": " Where is  the key", "y": "cat"}, [("x", "b"), ("y", "c")])
    assert data.own_Q.tolist() == [0, -1]
    positives = positives_of(data.split("train"), data.queries, data.corpus, data.own_Q)
    excluded = exclusions(positives)
    assert np.split(excluded.rows_E, excluded.offsets_Q1[1:-1])[0].tolist() == [0, 1]
    assert np.split(excluded.rows_E, excluded.offsets_Q1[1:-1])[1].tolist() == [2]
    offsets, known = known_positives(positives, np.array([0, 1]), np.array([0, 1, 2]))
    assert (offsets.tolist(), known.tolist()) == ([0, 2, 3], [1, 0, 2])
    assert positives.take(np.array([1, 0])).own_of(1) == 0


def test_from_python_it_is_no_negative_either(tmp_path: Path, tiny_model: Path) -> None:
    write(tmp_path, {"a": TEXTS["a"], "b": TEXTS["b"]}, [("a", "b"), ("b", "a")])
    options = {"relative_margin": None, "num_negatives": 3}
    mined = whet.mine(str(tmp_path), model=str(tiny_model), **options)
    found = mined.negatives.doc_rows_RK
    assert {int(row) for row in found.ravel() if row >= 0} == {2}  # the cat, not the query's text


def test_validation_is_judged_on_as_dev_is(tmp_path: Path) -> None:
    queries = {"x": "key", "y": "cat"}
    data = write(tmp_path, queries, [("x", "b"), ("y", "c")], train=1, validation=1)
    train, judged = splits_of(data, FitConfig())
    assert len(train) == len(judged) == len(data.split("dev")) == 2
    assert eval_qrels(data, None) is data.splits["validation"]


def test_steps_of_one_pair_without_negatives_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path, {"x": "key", "y": "cat"}, [("x", "b"), ("y", "c")])
    config = FitConfig()
    config.trainer.batch_size = 1
    check_splits(data, config)
    config.mining.num_negatives = 0
    with pytest.raises(ConfigError, match="a step has one document and nothing to tell it from"):
        check_splits(data, config)
    config.trainer.batch_size = 2
    check_splits(data, config)


def test_documents_that_all_answer_every_query_are_refused(tmp_path: Path) -> None:
    every = [(query, document) for query in "xy" for document in "abc"]
    data = write(tmp_path, {"x": "key", "y": "cat"}, every)
    with pytest.raises(DataError, match="3 different documents to learn from, relevant to every"):
        check_splits(data, FitConfig())


def test_without_mining_only_the_documents_in_training_count(tmp_path: Path) -> None:
    data = write(tmp_path, {"x": "key", "y": "cat"}, [("x", "b"), ("y", "b")])
    config = FitConfig()
    check_splits(data, config)  # what is mined may be any document
    config.mining.num_negatives = 0
    with pytest.raises(DataError, match="1 different document to learn from"):
        check_splits(data, config)
