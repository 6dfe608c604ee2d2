"""A document in passages is scored by its best one, in the checks of a tune and of an adaptation as
in `whet eval`.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from whet.adaptation.judged import lessons_of_qrels
from whet.config import AdaptConfig, DataConfig, EncodeConfig, EvaluateConfig, ModelConfig
from whet.data.load import Dataset, read_dataset
from whet.data.readers.passages import of_documents
from whet.encoding.store import embeddings_folder
from whet.encoding.table import encode_table
from whet.evaluation.judge import judge
from whet.evaluation.lexical import Words
from whet.feedback.events.judgments import Judged
from whet.feedback.learn.checks import JudgedQueries, feedback_check, guard_check
from whet.feedback.learn.lessons import lessons_of, pool_of
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.types import Embeddings, Qrels
from whet.verbs.adapt import adapt_job
from whet_launch.cli.main import main

SYLLABLES = "ba ce di fo gu ka le mi no pu ra se ti vo zu".split()
WORDS = [first + second for first in SYLLABLES for second in SYLLABLES]
MEASURE = "nDCG@10"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 documents of one to three passages, and a query for each of words of the last; 30 are of
    the train split, 10 of the test split.
    """
    root, chance = tmp_path_factory.mktemp("long") / "data", random.Random(3)
    (root / "qrels").mkdir(parents=True)
    corpus, queries = [], []
    judged: dict[str, list[str]] = {"train": [], "test": []}
    for row in range(40):
        parts = [chance.choices(WORDS, k=100) for _ in range(chance.randint(1, 3))]
        asked = chance.sample(parts[-1][:20], 5)
        text = "\n\n".join(" ".join(part) for part in parts)
        corpus.append({"_id": f"d{row}", "text": text})
        queries.append({"_id": f"q{row}", "text": " ".join(asked)})
        judged["test" if row % 4 == 0 else "train"].append(f"q{row}\td{row}\t1")
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, lines in judged.items():
        (root / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return read_dataset(DataConfig(path=str(folder), passages="auto"))


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model))


@pytest.fixture(scope="module")
def corpus(data: Dataset, encoder: Encoder) -> Embeddings:
    return encode_table(encoder, data.corpus, kind="document", store=embeddings_folder())


def of_eval(encoder: Encoder, data: Dataset, split: str, weight: float) -> list[float]:
    """nDCG@10 of each query of a split, as `whet eval` has it."""
    model = Towers(encoder, encoder, weight)
    config = EvaluateConfig(measures=[MEASURE])
    evaluation = judge(model, data, data.split(split), store=embeddings_folder(), config=config)
    rows = data.split(split).query_rows
    return [evaluation.scores.per_query[MEASURE][name] for name in data.queries.ids_of(rows)]


def scores(check: JudgedQueries, encoder: Encoder, weight: float) -> list[float]:
    query_CD = encoder.encode(check.texts, kind="query")
    return [float(score) for score in check.scores(query_CD, weight)]


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_checks_have_the_figures_of_eval(
    data: Dataset, encoder: Encoder, corpus: Embeddings, weight: float
) -> None:
    words = Words(data.corpus)
    guard = guard_check(
        data, corpus, encoder, other=None, avoid=set(), encode=EncodeConfig(), words=words
    )
    assert scores(guard, encoder, weight) == of_eval(encoder, data, "test", weight)
    lessons = lessons_of_qrels(data, data.split("train").relevant(), seed=0)
    check = feedback_check(lessons, corpus, words)
    found = scores(check, encoder, weight)
    assert found == of_eval(encoder, data, "train", weight)
    assert found != scores(replace(check, home_N=None), encoder, weight)  # passages hide documents


def test_a_marked_passage_is_its_document(
    data: Dataset, encoder: Encoder, corpus: Embeddings
) -> None:
    """Whichever passage of it a person marked; its other passages are not pushed away by that."""
    train = data.split("train").relevant()
    assert data.home_N is not None
    marked = []
    for query, doc in zip(train.query_rows_M.tolist(), train.doc_rows_M.tolist(), strict=True):
        last = int(np.flatnonzero(data.home_N == doc)[-1])
        marked.append(Judged(data.queries.text(query), relevant=[data.corpus.id(last)]))
    lessons, lost = lessons_of(marked, data.corpus, data.home_N)
    assert lost == 0
    check = feedback_check(lessons, corpus, None)
    assert scores(check, encoder, 0.0) == of_eval(encoder, data, "train", 0.0)
    pool = pool_of(lessons, encoder.encode(lessons.queries), corpus, None, seed=0)
    assert len(pool.vectors_PD) == len(data.corpus)  # the pool holds all passages, in order
    for row, (good,) in enumerate(lessons.relevant):
        kin = data.home_N == data.home_N[good]
        kin[good] = False
        assert pool.open_FP[row].numpy()[kin].all() and not pool.open_FP[row, int(good)]


def test_judgments_of_passages_stay_with_their_document() -> None:
    home_N = np.array([0, 0, 0, 3, 4])
    given = Qrels(np.array([0, 0, 0, 1]), np.array([0, 2, 4, 4]), np.array([0, 2, 1, 1]))
    found = of_documents(given, home_N)
    assert found.query_rows_M.tolist() == [0, 0, 1]
    assert found.doc_rows_M.tolist() == [0, 4, 4]
    assert found.relevance_M.tolist() == [2, 1, 1]


def test_judgments_of_the_page_are_of_documents(folder: Path, tmp_path: Path) -> None:
    """What the page exports names passages, and data.added takes it."""
    added = tmp_path / "added.tsv"
    added.write_text("q0\td1#2\t1\nq0\td1\t0\n")
    data = read_dataset(DataConfig(path=str(folder), passages="auto", added=str(added)))
    train = data.split("train")
    (row,) = np.flatnonzero(train.query_rows_M == data.queries.rows_of(["q0"])[0])
    assert data.corpus.id(int(train.doc_rows_M[row])) == "d1" and train.relevance_M[row] == 1


def test_an_adaptation_to_passages_proves_what_eval_says(
    folder: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = AdaptConfig(model=ModelConfig(name=str(tiny_model)), search="vectors")
    config.data = DataConfig(path=str(folder), passages="auto")
    config.output = str(tmp_path / "run")
    done = adapt_job(config)
    options = [f"data={folder}", "data.passages=auto", "data.eval_split=train"]
    command = ["eval", *options, f"model={tiny_model}", f"output={tmp_path}/eval"]
    assert main(command) == 0
    judged = json.loads((tmp_path / "eval" / "metrics.json").read_text())["model"]
    assert done.record["proof"]["before"] == pytest.approx(judged[MEASURE], abs=1e-12)
    capsys.readouterr()
    assert done.record["next"][0] == f'whet search {done.folder} "words"'
    assert main(["search", str(done.folder), "bace difo", "k=100"]) == 0
    assert "#2 " in capsys.readouterr().out  # a line for each passage
