"""Words beside vectors count in what comes back where dev shows them to be better, and else not."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learnable import WORDS, Fit, write_set

from whet.config import FitConfig
from whet.config.recorded import as_it_was
from whet.data.load import read_dataset
from whet.errors import CheckpointError
from whet.evaluation.judge import judge
from whet.evaluation.lexical.words import ListedTexts
from whet.evaluation.measures import balanced
from whet.evaluation.selection.word_weight import (
    LEVEL,
    WEIGHTS,
    WordsChoice,
    choose_words,
    language_of_words,
    seconds_of_words,
)
from whet.model.parts.words import words_of
from whet.model.towers import open_model
from whet.verbs.fit import fit_job

GERMAN = "Der Drucker ist nicht mit dem Netz verbunden und die Lampe ist aus."


def chosen_of(
    alone: Mapping[str, float], each: Mapping[float, Mapping[str, float]], max_drop: float = 0.01
) -> WordsChoice:
    several = "/" in next(iter(alone))
    return choose_words(
        alone, each, measure="nDCG@10", language="english", max_drop=max_drop, several=several
    )


def by_query(values: np.ndarray) -> dict[str, float]:
    return {f"q{row}": float(value) for row, value in enumerate(values)}


def test_the_best_weight_counts_where_it_is_surely_better() -> None:
    random_ = np.random.default_rng(0)
    plain = random_.uniform(0, 0.6, 60)
    gains = {0.1: 0.1, 0.2: 0.3, 0.3: 0.2, 0.5: -0.1}
    each = {weight: by_query(plain + gain) for weight, gain in gains.items()}
    choice = chosen_of(by_query(plain), each)
    assert choice.chosen and choice.words == (0.2, "english")
    assert choice.vectors == pytest.approx(plain.mean())
    assert choice.dev == pytest.approx({w: plain.mean() + gain for w, gain in gains.items()})
    assert "count 0.2 beside the vectors" in choice.sentence()


@given(st.integers(5, 60), st.floats(0.0, 0.5), st.integers(0, 1000))
def test_words_that_change_nothing_or_hurt_never_count(count: int, loss: float, seed: int) -> None:
    plain = np.random.default_rng(seed).uniform(0.5, 1, count)
    each = {weight: by_query(plain - weight * loss) for weight in WEIGHTS}
    choice = chosen_of(by_query(plain), each)
    assert not choice.chosen and choice.best == WEIGHTS[0]  # of equals the smallest
    assert "do not count" in choice.sentence()


def test_words_that_help_by_chance_alone_count_as_seldom_as_is_said() -> None:
    """Each weight's change is as likely a gain as a loss, and those of near weights are alike."""
    random_, counted = np.random.default_rng(1), 0
    plain = np.full(50, 0.5)
    for _ in range(200):
        shared = random_.normal(0, 0.1, 50)
        each = {w: by_query(plain + shared + random_.normal(0, 0.05, 50)) for w in WEIGHTS}
        counted += chosen_of(by_query(plain), each).chosen
    assert counted <= 200 * LEVEL + 3 * np.sqrt(200 * LEVEL * (1 - LEVEL))


def test_words_that_hurt_one_of_several_sets_do_not_count() -> None:
    gains = {"a": 0.4, "b": -0.05}
    each_set = {name: by_query(np.linspace(0.3, 0.5, 40)) for name in gains}
    with_words = {
        name: {query: value + gains[name] for query, value in scores.items()}
        for name, scores in each_set.items()
    }
    alone, each = balanced(each_set), {0.3: balanced(with_words)}
    choice = chosen_of(alone, each)
    assert choice.p_value <= LEVEL and choice.fell == "b" and not choice.chosen
    assert "b loses by it" in choice.sentence()
    assert chosen_of(alone, each, max_drop=1.0).chosen


def test_one_language_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    german, english = ListedTexts([GERMAN]), ListedTexts(["The cat is on the mat."])
    assert language_of_words([german]) == ("german", "")
    language, why = language_of_words([german, english])
    assert language is None and "several languages (english, german)" in why
    monkeypatch.setattr("whet.evaluation.lexical.languages.find_spec", lambda name: None)
    language, why = language_of_words([english])
    assert language is None and "bm25s" in why


def test_time_grows_with_documents_and_searches() -> None:
    assert seconds_of_words(10_000, 50, 100) < 3 < seconds_of_words(1_000_000, 500, 1000)


def test_a_recipe_of_before_tries_no_words() -> None:
    for record in ({"seed": 3}, {"select": {"policy": "dev"}}):
        assert as_it_was(record, FitConfig)["select"]["words"] == "off"
    assert FitConfig().select.words == "auto"


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def stuffed(folder: Path) -> Path:
    """Data in which words mislead: a query asks for its document in other words, and each of its
    own words stands in twelve documents that answer nobody.
    """
    write_set(folder, 120)
    lines = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    random_ = random.Random(5)
    baits = [" ".join(random_.sample(WORDS, 2)) for _ in lines]
    texts = [
        {**line, "text": f"{bait} {line['text']}"} for line, bait in zip(lines, baits, strict=True)
    ]
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in texts))
    with (folder / "corpus.jsonl").open("a") as file:
        for row, line in enumerate(texts):
            for copy in range(12):
                document = {"_id": f"bait{row}-{copy}", "title": "", "text": line["text"]}
                file.write(json.dumps(document) + "\n")
    return folder


def test_where_words_mislead_the_folder_is_as_without_them(fit: Fit, tmp_path: Path) -> None:
    data = {"path": str(stuffed(tmp_path / "data"))}
    options = {"data": data, "trainer": {"max_steps": 4}}
    tried = fit_job(fit(**options)).folder
    said = json.loads((tried / "selection.json").read_text())["words"]
    assert said["weight"] == 0 and [row["weight"] for row in said["tried"]] == list(WEIGHTS)
    metrics = json.loads((tried / "metrics.json").read_text())
    assert set(metrics) == {"base", "tuned", "base_words", "tuned_words"}
    assert said["sentence"] in (tried / "report.html").read_text()
    never = fit_job(fit(**options, select={"words": "off"}, output=str(tmp_path / "never"))).folder
    assert "words" not in json.loads((never / "selection.json").read_text())
    assert set(json.loads((never / "metrics.json").read_text())) == {"base", "tuned"}
    assert files(tried / "model") == files(never / "model")
    assert "words.json" not in files(tried / "model")


def test_the_model_searches_as_its_row_says(fit: Fit, tmp_path: Path) -> None:
    config = fit(trainer={"max_steps": 4})
    run = fit_job(config)
    said = json.loads((run.folder / "selection.json").read_text())["words"]
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert words_of(run.model) == (said["weight"], "english") and said["weight"] in WEIGHTS
    data, model = read_dataset(config.data), open_model(str(run.model))
    for name, weight in (("tuned", 0.0), ("tuned_words", said["weight"])):
        model.words = weight
        again = judge(
            model, data, data.split("test"), store=tmp_path / "store", config=config.evaluate
        )
        assert again.scores.means == pytest.approx(metrics[name], abs=1e-6)
    row = said["judged"]["tuned"]
    assert row == [metrics[name]["nDCG@10"] for name in ("tuned", "tuned_words")]
    assert f"| tuned | {row[0]:.4f} | {row[1]:.4f} |" in (run.model / "README.md").read_text()
    assert run.comparison.main.tuned == metrics["tuned"]["nDCG@10"]  # the table is of vectors


@pytest.mark.parametrize(
    ("count", "gains", "chosen", "weight", "heading"),
    [
        (4, {0.0: -0.1, 0.5: 0.1}, False, 0.3, "weight 0.3"),  # too few queries to decide
        (60, {0.0: -0.1, 0.5: 0.2}, True, 0.5, "weights 0.3 and 0.5"),
        (60, {0.0: 0.2, 0.5: 0.1}, True, 0.0, "weight 0.3"),  # surely better without words
        (60, {0.0: -0.1, 0.5: -0.2}, False, 0.3, "weight 0.3"),
    ],
)
def test_the_weight_of_the_base_model_stays_unless_another_is_surely_better(
    count: int, gains: dict[float, float], chosen: bool, weight: float, heading: str
) -> None:
    random_ = np.random.default_rng(2)
    own = random_.uniform(0.3, 0.6, count)
    others = {w: by_query(own + gain * random_.uniform(0, 2, count)) for w, gain in gains.items()}
    alone = others.pop(0.0)
    each = {**others, 0.3: by_query(own)}
    options = {"measure": "nDCG@10", "language": "german", "max_drop": 0.01}
    choice = choose_words(alone, each, own=0.3, **options)
    assert choice.chosen is chosen and choice.words == (weight, "german")
    assert choice.of_base == (0.3, "german") and choice.shown.weight == (weight or 0.3)
    assert choice.heading == f"vectors and words ({heading})"
    sentence = choice.sentence()
    assert "with the base model's weight of 0.3" in sentence
    assert (f"count {weight:g} beside" if weight else "beside the vectors any more") in sentence


def with_words(tiny_model: Path, folder: Path, content: str) -> Path:
    """A copy of the tiny model whose searches count words."""
    shutil.copytree(tiny_model, folder)
    (folder / "words.json").write_text(content)
    return folder


def test_base_and_tuned_are_compared_as_they_search(
    fit: Fit, tiny_model: Path, tmp_path: Path
) -> None:
    base = with_words(tiny_model, tmp_path / "base", '{"weight": 0.45}')
    config = fit(model={"name": str(base)}, trainer={"max_steps": 2})
    run = fit_job(config)
    said = json.loads((run.folder / "selection.json").read_text())["words"]
    assert said["own"] == 0.45 and [row["weight"] for row in said["tried"]] == [
        *(0.1, 0.2, 0.3, 0.45, 0.5)
    ]
    metrics = json.loads((run.folder / "metrics.json").read_text())
    data = read_dataset(config.data)
    for name, folder in (("base_words", base), ("tuned_words", run.model)):
        again = judge(
            open_model(str(folder)),
            data,
            data.split("test"),
            store=tmp_path / "store",
            config=config.evaluate,
        )
        assert again.scores.means == pytest.approx(metrics[name], abs=1e-6)
    assert words_of(run.model).weight == said["weight"] > 0


def test_where_nothing_is_tried_the_base_models_words_stay(
    fit: Fit, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = with_words(tiny_model, tmp_path / "base", '{"weight": 0.2, "language": "german"}')
    config = fit(model={"name": str(base)}, select={"policy": "last"}, trainer={"max_steps": 1})
    run = fit_job(config)
    assert words_of(run.model) == (0.2, "german")
    kept = "with weight 0.2; its vectors know nothing of them. The weight is that of the model it"
    assert kept in (run.model / "README.md").read_text()
    assert kept in " ".join(capsys.readouterr().err.split())


def test_damaged_words_of_a_base_model_are_told_before_any_work(
    fit: Fit, tiny_model: Path, tmp_path: Path
) -> None:
    base = with_words(tiny_model, tmp_path / "base", '{"weight": "much"}')
    with pytest.raises(CheckpointError, match=r"words\.json is damaged"):
        fit_job(fit(model={"name": str(base)}))
    assert not (tmp_path / "run").exists()
