"""How much words count beside vectors: by a number, by the model's folder, or by the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whet.config import EvalConfig, SearchConfig
from whet.data.load import load_dataset
from whet.data.splits import eval_qrels
from whet.encoding.store import embeddings_folder
from whet.errors import ConfigError
from whet.evaluation.comparison import Comparison
from whet.evaluation.judge import Evaluation, judge
from whet.evaluation.lexical import Words
from whet.evaluation.lexical.weight import known_share, word_weight
from whet.evaluation.lexical.words import ListedTexts
from whet.model.encoder import Encoder
from whet.model.towers import open_model
from whet.verbs.evaluate import evaluate_job
from whet.verbs.search import search_command

DOCS = ["the cats sleep on the printer", "a dog runs", "printers print"]


@pytest.mark.parametrize(
    ("queries", "share"),
    [
        (["sleeping cat", "which printer is it"], 1.0),  # stems; function words do not count
        (["cat cat cat zebra"], 0.75),
        (["cat zebra", "yak"], 1 / 3),
        (["the of and", ""], None),
        ([], None),
    ],
)
def test_the_gate_counts_content_words(queries: list[str], share: float | None) -> None:
    assert known_share(queries, Words(DOCS)) == pytest.approx(share)
    wanted = 0.3 if share is not None and share >= 0.7 else 0.1
    assert word_weight(queries, Words(DOCS)) == word_weight(queries, ListedTexts(DOCS)) == wanted


def test_a_language_without_known_function_words_is_counted_carefully() -> None:
    assert word_weight(["路由器"], ListedTexts(["打开路由器设置页面"])) == 0.1


def config_of(data: Path, model: Path, folder: Path, **options: object) -> EvalConfig:
    config = EvalConfig(output=str(folder), **options)  # type: ignore[arg-type]
    config.data.path, config.model.name = str(data), str(model)
    return config


def test_eval_sets_words_beside_the_vectors_of_the_same_model(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = str(tiny_model)
    config = config_of(tiny_data, tiny_model, tmp_path / "a", words="0.5", baseline=same)
    _, beside = evaluate_job(config)
    assert isinstance(beside, Comparison) and beside.main.tuned > beside.main.base
    encoder = open_model(same)
    encoder.words = 0.5
    data = load_dataset(str(tiny_data))
    wanted = judge(
        encoder,
        data,
        eval_qrels(data, None),
        store=embeddings_folder(),  # beside other texts a vector may have other last bits
        config=config.evaluate,
    )
    assert isinstance(encoder, Encoder)
    folder = encoder.save(tmp_path / "with words")
    _, of_folder = evaluate_job(config_of(tiny_data, folder, tmp_path / "b"))
    assert isinstance(of_folder, Evaluation)
    assert of_folder.run == wanted.run
    assert of_folder.scores.means["nDCG@10"] == beside.main.tuned
    _, alone = evaluate_job(config_of(tiny_data, folder, tmp_path / "c", words="0"))
    assert isinstance(alone, Evaluation) and alone.scores.means["nDCG@10"] == beside.main.base
    capsys.readouterr()
    evaluate_job(config_of(tiny_data, folder, tmp_path / "d", words="gate"))
    assert "Words in common count 0.3 beside the vectors" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["much", "-1", "nan", "inf", ""])
def test_a_weight_that_is_none_is_refused(
    words: str, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    config = config_of(tiny_data, tiny_model, tmp_path / "a", words=words)
    with pytest.raises(ConfigError, match=r"is no weight\. Give a number such as 0\.3"):
        evaluate_job(config)
    with pytest.raises(ConfigError, match="is no weight"):
        search_command(SearchConfig(run=str(tiny_model), query="x", words=words or "gate"))


def test_words_need_vectors_beside_them(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="and bm25 has none"):
        evaluate_job(config_of(tiny_data, Path("bm25"), tmp_path / "a", words="0.3"))


def test_search_counts_words_as_asked(
    tiny_data: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, encoder = load_dataset(str(tiny_data)), Encoder.load(str(tiny_model))
    query = data.corpus.text(7)
    config = SearchConfig(run=str(tiny_model), query=query, words="0.4", k=3)
    config.data.path = str(tiny_data)
    search_command(config)
    sums = (
        encoder.encode(data.corpus.texts(range(len(data.corpus))))
        @ encoder.encode([query], kind="query").T
    )
    sums = sums[:, 0] + np.float32(0.4) * Words(data.corpus).shares([query])[0]
    best = data.corpus.ids_of(np.argsort(-sums, kind="stable")[:3])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == best
