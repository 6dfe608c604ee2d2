"""Several data sets in one fit: mixed by shares, and each mined in, judged and guarded alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learnable import write_set

from whet.api import evaluate, fit
from whet.bundle.facts import read_facts
from whet.config import CheckConfig, DataConfig, FitConfig, MineConfig
from whet.config.given import configured
from whet.data.joined import joined_qrels, parted_qrels, read_data
from whet.data.load import read_dataset
from whet.data.splits import pairs_of
from whet.encoding.store import embeddings_folder
from whet.errors import ConfigError
from whet.evaluation.measures import balanced, by_set
from whet.evaluation.selection.choice import Candidate, choose
from whet.evaluation.selection.moments import Moment
from whet.mining.files import read_negatives
from whet.mining.rows import mine_with
from whet.model.encoder import Encoder
from whet.plan.command import plan_command
from whet.training.batches.order import Order, Share, pairs_read, parted
from whet.training.callbacks import Checkpoints
from whet.verbs.check import check_command
from whet.verbs.fit import Run, fit_job
from whet.verbs.mine import mine_command

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


class Killed(BaseException):
    """What no code of ours catches."""


def order_of(sizes: list[int], weights: list[float], batch: int, seed: int) -> Order:
    quotas = parted(sum(sizes), weights)
    return Order(sum(sizes), batch, seed, tuple(map(Share, sizes, quotas)))


@given(SIZES, st.data(), st.integers(1, 9), st.integers(0, 5))
def test_sets_are_mixed_by_their_shares_and_each_pair_comes_in_its_round(
    sizes: list[int], data: st.DataObject, batch: int, seed: int
) -> None:
    weight = st.floats(0.01, 100)
    weights = data.draw(st.lists(weight, min_size=len(sizes), max_size=len(sizes)))
    order, starts = order_of(sizes, weights, batch, seed), np.cumsum([0, *sizes])
    epochs = 3
    read = [order.step(step) for step in range(epochs * order.steps_per_epoch)]
    assert sum(map(len, read)) == order.seen(len(read)) == epochs * sum(sizes)
    assert all(len(pairs) <= batch for pairs in read)
    for number, share in enumerate(order.shares):
        own = [p - starts[number] for p in np.concatenate(read) if starts[number] <= p]
        own = [int(pair) for pair in own if pair < share.pairs]
        assert len(own) == epochs * share.each_epoch
        assert abs(share.each_epoch - sum(sizes) * weights[number] / sum(weights)) <= len(sizes)
        for start in range(0, len(own), share.pairs):  # round by round, each pair once
            one_round = own[start : start + share.pairs]
            assert len(set(one_round)) == len(one_round)
    step = data.draw(st.integers(0, len(read) - 1))
    again = order_of(sizes, weights, batch, seed).step(step)
    assert np.array_equal(again, read[step])  # of seed and step alone
    until = np.concatenate([np.empty(0, np.int64), *read[:step]])
    assert np.array_equal(pairs_read(order, step), np.unique(until))


@given(st.integers(4, 300), st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=4))
def test_shares_are_whole_and_none_is_empty(total: int, weights: list[float]) -> None:
    parts = parted(total, weights)
    assert sum(parts) == total and min(parts) >= 1
    exact = [total * weight / sum(weights) for weight in weights]
    assert all(abs(n - e) < len(weights) for n, e in zip(parts, exact, strict=True))


@given(st.dictionaries(st.sampled_from("abc"), st.lists(st.floats(0, 1), min_size=1), min_size=1))
def test_balanced_scores_have_the_mean_of_the_sets(scores: dict[str, list[float]]) -> None:
    sets = {name: {f"q/{n}": v for n, v in enumerate(own)} for name, own in scores.items()}
    whole = balanced(sets)
    wanted = np.mean([np.mean(own) for own in scores.values()])
    assert np.mean(list(whole.values())) == pytest.approx(wanted, abs=1e-12)
    assert by_set(whole) == {name: pytest.approx(own) for name, own in sets.items()}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two data sets with the same ids; a document of the first is in the second, too."""
    home = tmp_path_factory.mktemp("two")
    sets = [write_set(home / "a", 120), write_set(home / "b", 50)]
    texts = [path / "corpus.jsonl" for path in sets]
    first = json.loads(texts[0].read_text().splitlines()[7])
    with texts[1].open("a") as file:
        file.write(json.dumps({**first, "_id": "twin"}) + "\n")
    return [str(path) for path in sets]


def listed(paths: list[str]) -> str:
    return f"[{','.join(paths)}]"


def config_of(model: Path, two: list[str], output: Path, **options: Any) -> FitConfig:
    config = FitConfig()
    config.data.path, config.data.weights = listed(two), [1.0, 2.0]
    config.model.name, config.output = str(model), str(output)
    config.mining.backend, config.logger.name = "blas", "none"
    config.trainer.max_steps, config.trainer.batch_size = 16, 16
    config.trainer.learning_rate = 2e-3
    config.refresh.policy, config.refresh.every_n_steps = "steps", 8
    return configured(config, options)


@pytest.fixture(scope="module")
def run(tiny_model: Path, two: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit_job(config_of(tiny_model, two, tmp_path_factory.mktemp("sets") / "run"))


def read(run: Run, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run.folder / name).read_text())
    return record


def test_joined_tables_are_the_sets_one_after_another(two: list[str]) -> None:
    data = read_data(DataConfig(listed(two)))
    parts = [read_dataset(DataConfig(path)) for path in two]
    ids = [f"{p.name}/{id_}" for p in parts for id_ in p.corpus.ids]
    texts = [text for p in parts for text in p.corpus.texts(np.arange(len(p.corpus)))]
    rows = np.random.default_rng(0).permutation(len(data.corpus))
    assert list(data.corpus.ids) == ids and data.corpus.id(130) == ids[130]
    assert data.corpus.texts(rows) == [texts[row] for row in rows]
    assert data.corpus.ids_of(rows) == [ids[row] for row in rows]
    assert data.corpus.rows_of([ids[row] for row in rows]).tolist() == rows.tolist()
    assert data.corpus.rows_of(["a/no", "c/d0", "d0", "b/d119"]).tolist() == [-1] * 4
    assert data.corpus.group_of_N()[data.corpus.rows_of(["b/twin"])] == 7  # of the other set
    train = data.split("train")
    assert len(train) == sum(len(part.split("train")) for part in parts)
    again = joined_qrels(data, parted_qrels(data, train))
    assert np.array_equal(again.doc_rows_M, train.doc_rows_M)


def test_each_set_has_its_row_and_the_mean_is_over_the_sets(run: Run) -> None:
    comparison, metrics = read(run, "comparison.json"), read(run, "metrics.json")
    assert list(comparison["sets"]) == list(metrics["sets"]) == ["a", "b"]
    for system in ("base", "tuned", "base_words", "tuned_words"):
        for measure, value in metrics[system].items():
            own = [means[system][measure] for means in metrics["sets"].values()]
            assert value == pytest.approx(np.mean(own))
    main = comparison["rows"][0]
    each = [rows[0] for rows in comparison["sets"].values()]
    assert main["difference"] == pytest.approx(np.mean([row["difference"] for row in each]))
    assert main["low"] <= main["difference"] <= main["high"]
    assert main["wins"] == sum(row["wins"] for row in each)
    table = run.comparison.table().splitlines()
    assert [line.split()[0] for line in table[:4]] == ["measure", "nDCG@10", "a", "b"]
    report = (run.folder / "report.html").read_text()
    assert "Hard negatives of <bdi>b</bdi>" in report and "<bdi>a</bdi></span></th>" in report
    assert "| nDCG@10 on b |" in (run.model / "README.md").read_text()
    per_query = [json.loads(line) for line in (run.folder / "per_query.jsonl").open()]
    assert Counter(row["query_id"][:2] for row in per_query) == {"a/": 24, "b/": 10}
    assert [one["name"] for one in read(run, "origin.json")["data"]["sets"]] == ["a", "b"]


def test_a_set_is_judged_as_alone(run: Run, tiny_model: Path, two: list[str]) -> None:
    alone = evaluate(str(tiny_model), two[1]).scores.means
    assert read(run, "metrics.json")["sets"]["b"]["base"] == pytest.approx(alone)


def test_negatives_are_of_the_own_set_and_as_for_it_alone(
    run: Run, tiny_model: Path, two: list[str]
) -> None:
    data = read_data(DataConfig(listed(two)))
    path = run.folder / "negatives" / "step_00000000.parquet"
    mined = read_negatives(path, queries=data.queries, corpus=data.corpus, data=data.digest)
    assert set(read(run, "mining_report.json")["sets"]) == {"a", "b"}
    config, encoder = config_of(tiny_model, two, run.folder), Encoder.load(str(tiny_model))
    for part, start, first in ((data.parts[0], 0, 0), (data.parts[1], 120, 120)):
        own = (mined.query_rows_R >= first) & (mined.query_rows_R < first + len(part.queries))
        docs = mined.doc_rows_RK[own] - start
        assert own.any() and docs.min() >= 0 and docs.max() < len(part.corpus)
        train = pairs_of(part, "train")
        alone = mine_with(
            encoder,
            part,
            train,
            # those held out are no positives of the fit, and so none here
            part.positives(train),
            store=embeddings_folder(),
            policy=config.mining,
            encode=None,
        ).negatives
        rows = np.isin(alone.query_rows_R, mined.query_rows_R[own] - first)
        assert np.array_equal(alone.query_rows_R[rows], mined.query_rows_R[own] - first)
        assert np.array_equal(alone.doc_rows_RK[rows], docs)


@pytest.mark.slow
def test_killed_and_resumed_it_ends_as_uninterrupted(
    run: Run, tiny_model: Path, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tiny_model, two, tmp_path / "run")
    config.trainer.checkpoint_every_steps = 1
    real = Checkpoints.on_train_batch_end

    def killed(self: Any, trainer: Any, *rest: Any) -> None:
        real(self, trainer, *rest)
        if trainer.global_step == 9:  # once mined again
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", killed)
        with pytest.raises(Killed):
            fit_job(config)
    resumed = fit_job(replace(config, resume=config.output))
    for name in ("model/model.safetensors", "selection.json", "comparison.json"):
        assert (resumed.folder / name).read_bytes() == (run.folder / name).read_bytes(), name


def chosen(gains: dict[str, float], tiny_model: Path, max_drop: float) -> Any:
    """What is chosen where each set of 30 dev queries gains so much per query."""
    base = balanced({name: {f"q{n}": 0.5 for n in range(30)} for name in gains})
    after = balanced({name: {f"q{n}": 0.5 + g for n in range(30)} for name, g in gains.items()})

    keeper: Any = SimpleNamespace(
        base=Moment(0, base, {}),
        moments=[Moment(1, after, {})],
        measure="nDCG@10",
        guard=None,
        pool=SimpleNamespace(judged=lambda model: after),
        weights_of=lambda best, like: like,
        whole=lambda encoder: encoder,
    )
    encoder = Encoder.load(str(tiny_model))
    return choose(
        keeper, encoder, encoder, lambda model: after, base, max_drop=max_drop, several=True
    )


def test_no_model_comes_back_that_surely_falls_on_a_set(tiny_model: Path) -> None:
    held = chosen({"a": 0.3, "b": -0.1}, tiny_model, 0.01)
    first: Candidate = held.trials[0]
    assert held.returned is None and first.fell == "b" and first.p_value < first.level
    assert "on the dev queries of b fell by 0.1000" in held.sentence()
    assert "guard.max_drop=1" in held.sentence()
    assert first.sets == pytest.approx({"a": 0.3, "b": -0.1})
    assert chosen({"a": 0.3, "b": -0.1}, tiny_model, 1.0).returned is not None
    back = chosen({"a": 0.3, "b": 0.02}, tiny_model, 0.01)
    assert back.returned is not None and "the mean of a +0.3000, b +0.0200" in back.sentence()


@pytest.mark.slow
def test_python_takes_a_list_and_weights(two: list[str], tiny_model: Path, tmp_path: Path) -> None:
    done = fit(
        [Path(two[0]), two[1]],
        model=str(tiny_model),
        weights=[1, 3],
        trainer={"max_steps": 2, "batch_size": 8},
        select={"policy": "last"},
        logger={"name": "none"},
        mining={"backend": "blas", "scope": "candidates", "candidates": 8},
        evaluate={"pool": "45"},
        output=str(tmp_path / "run"),
    )
    facts = read(done, "environment.json")["data"]
    assert facts["data sets"].startswith("a 25.0% (96 training pairs), b 75.0% (40")
    assert done.comparison.pool is not None and done.comparison.pool.of == 171
    assert (done.folder / "sets" / "a" / "pool.npy").is_file()


def refused(config: FitConfig) -> str:
    with pytest.raises(ConfigError) as error:
        fit_job(config)
    return str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": {"weights": [1.0]}}, "has 1 numbers for 2 data sets"),
        ({"data": {"weights": [1.0, 0.0]}}, "has 0 for"),
        ({"data": {"weights": [1.0, float("nan")]}}, "has nan for"),
        ({"refresh": {"policy": "continuous"}}, "Use refresh=steps or epoch"),
        ({"refresh": {"policy": "overlap"}}, "Use refresh=steps or epoch"),
        ({"budget": "5m"}, "budget=5m does not go with several data sets yet"),
        ({"encode": {"precision": "int8"}}, "encode.precision=int8 does not go"),
        ({"loss": {"name": "margin_mse"}}, "Name distill.teacher=MODEL"),
        ({"data": {"added": "x"}}, "data.added does not go"),
    ],
)
def test_what_cannot_go_together_is_refused_before_work(
    two: list[str], tiny_model: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    assert words in refused(config_of(tiny_model, two, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_two_of_one_name_and_weights_for_one_set_are_refused(
    two: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    twice = config_of(tiny_model, [two[0], two[0]], tmp_path / "run")
    assert refused(twice).endswith("twice. Leave one of them out.")
    copied = str(shutil.copytree(two[0], tmp_path / "elsewhere" / "a"))
    same = config_of(tiny_model, [two[0], copied], tmp_path / "run")
    assert "two sets called a" in refused(same)
    one = config_of(tiny_model, two, tmp_path / "run")
    one.data.path = two[0]
    assert "data.weights=[1.0, 2.0] mixes several data sets" in refused(one)
    with pytest.raises(ConfigError, match="fit, check and plan take them together"):
        mine_command(MineConfig(data=DataConfig(listed(two))))


def test_what_takes_one_set_says_so_of_a_run_of_several(run: Run) -> None:
    with pytest.raises(ConfigError, match="was fitted on several data sets"):
        read_facts(run.folder)
    with pytest.raises(ConfigError, match="Give one of them, such as data="):
        run.search("some words")


def test_check_and_plan_take_the_same_words(
    two: list[str], tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tiny_model, two, tmp_path / "run")
    assert check_command(CheckConfig(data=config.data, model=config.model)) == 0
    found = capsys.readouterr().out
    assert all(f"{path}: BEIR folder" in found for path in two)
    assert plan_command(config) == 0
    assert "a+b" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_judge_and_mine_as_one(
    run: Run, tiny_model: Path, two: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    words = "data.weights=[1,2] trainer.max_steps=2 trainer.batch_size=16 mining.backend=blas "
    words += "select=last logger=none launch.num_workers=2"
    command = [sys.executable, "-m", "whet_launch", "fit", f"data={listed(two)}"]
    command += [f"model={tiny_model}", f"output={output}", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((output / "metrics.json").read_text())["sets"]
    for name, means in read(run, "metrics.json")["sets"].items():
        assert found[name]["base"] == pytest.approx(means["base"])
    file = "negatives/step_00000000.parquet"
    one, other = (_by_query(folder / file) for folder in (run.folder, output))
    both = one.keys() & other.keys()
    assert len(both) > 10 and all(one[query] == other[query] for query in both)


def _by_query(path: Path) -> dict[str, list[str]]:
    table = pq.read_table(path)
    return dict(zip(table["query_id"].to_pylist(), table["negative_ids"].to_pylist(), strict=True))
