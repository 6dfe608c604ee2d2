"""Long documents as passages: where they are cut; rankings and judgments are of documents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whet.config import EvaluateConfig, FitConfig
from whet.data.load import Dataset, load_dataset
from whet.data.readers.passages import MOST_WORDS, by_document, passages_of
from whet.data.splits import eval_qrels, splits_of
from whet.errors import DataError
from whet.evaluation.judge import judge_words

FILLER = "filler " * 100
LONG = f"{FILLER}\n\n{FILLER}\n\n{FILLER} the key lies under the mat"
CORPUS = {"long": LONG, "short": "a cat sleeps", "b": "keys and mats are sold here"}


def write(root: Path, corpus: dict[str, str] = CORPUS) -> Path:
    (root / "qrels").mkdir(parents=True)
    queries = {"q": "key under the mat", "r": "where does the cat sleep"}
    for name, table in (("corpus", corpus), ("queries", queries)):
        lines = (json.dumps({"_id": id_, "text": text}) for id_, text in table.items())
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    for split in ("train", "test"):
        (root / "qrels" / f"{split}.tsv").write_text("q\tlong\t2\nr\tshort\t1\n")
    return root


def opened(root: Path, **options: str) -> Dataset:
    return load_dataset(str(root), cache_dir=root.parent / "cache", **options)


def test_long_documents_are_cut_and_short_ones_are_not(tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    data = opened(root, passages="auto")
    assert list(data.corpus.ids) == ["long", "long#2", "long#3", "short", "b"]
    assert data.home_N is not None and data.home_N.tolist() == [0, 0, 0, 3, 4]
    whole = opened(root)
    assert whole.home_N is None and list(whole.corpus.ids) == ["long", "short", "b"]
    assert whole.digest != data.digest


def test_a_document_is_ranked_once_by_its_best_passage(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "set"), passages="auto")
    judged = eval_qrels(data, None)
    config = EvaluateConfig(measures=["nDCG@10", "RR@10"])
    evaluation = judge_words(data, judged, config)
    assert list(evaluation.run["q"]) == ["long", "b"]
    assert evaluation.scores.means == {"nDCG@10": 1.0, "RR@10": 1.0}


def test_in_training_each_passage_of_a_relevant_document_is_relevant(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "set"), passages="auto")
    train, judged = splits_of(data, FitConfig())
    assert train.doc_rows_M.tolist() == [0, 1, 2, 3]
    assert train.relevance_M.tolist() == [2, 2, 2, 1]
    assert judged.doc_rows_M.tolist() == [0, 3]


def test_ids_that_end_as_those_of_passages_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {**CORPUS, "b#2": "text"})
    with pytest.raises(DataError, match="id 'b#2' ends as the ids of passages do"):
        opened(root, passages="auto")
    assert len(opened(root).corpus) == 4


def test_best_passages_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6]], np.float32)
    rows = np.array([[4, 1, 0, 3]])
    home = np.array([0, 0, 2, 3, 3])
    found, documents = by_document(scores, rows, home, 3)
    assert documents.tolist() == [[3, 0, -1]]
    assert found[0, :2].tolist() == [np.float32(0.9), np.float32(0.8)]


PARTS = st.lists(
    st.sampled_from(["word " * 50, "\n\n", "A sentence. ", "漢字" * 40, "x" * 30, "\n", "." * 9]),
    max_size=30,
)


@given(PARTS)
def test_no_word_is_lost_and_no_passage_is_long(parts: list[str]) -> None:
    text = "".join(parts)
    passages = passages_of(text)
    if len(passages) > 1:
        assert "".join("".join(passages).split()) == "".join(text.split())
        han = [sum("\u4e00" <= c <= "\u9fff" for c in passage) for passage in passages]
        assert max(han) <= MOST_WORDS
        assert all(len(passage.split()) <= MOST_WORDS for passage in passages)
    else:
        assert passages == [text]
