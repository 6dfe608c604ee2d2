"""What a fit gives back: the model that dev shows to be better, or the base model to the bit."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learnable import Fit, write_set
from safetensors.torch import load_file

from whet.config import FitConfig
from whet.data.load import read_dataset
from whet.evaluation.selection.dev_part import parts_of
from whet.evaluation.selection.moments import Moment
from whet.evaluation.selection.pool import DevPool, PoolJudge
from whet.evaluation.selection.small_search import mean
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.training.callbacks import Checkpoints
from whet.verbs.fit import fit_job


class KilledFit(BaseException):
    """What no code of ours catches."""


FILES = (
    "model/model.safetensors",
    "model/words.json",
    "selection.json",
    "metrics.json",
    "train_log.jsonl",
    "comparison.json",
)


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "selection.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.fixture(scope="module")
def chosen(tiny_model: Path, learnable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a fit that learned something."""
    return fit_job(short(tiny_model, learnable, tmp_path_factory.mktemp("chosen") / "run")).folder


def short(model: Path, data: Path, output: Path) -> FitConfig:
    config = FitConfig()
    config.data.path, config.model.name, config.output = str(data), str(model), str(output)
    config.mining.backend, config.logger.name = "blas", "none"
    config.trainer.max_steps, config.trainer.batch_size = 16, 16
    config.trainer.learning_rate = 2e-3
    config.guard.max_drop = 1.0
    return config


def test_what_learned_comes_back_and_the_report_says_why(chosen: Path) -> None:
    told = record(chosen)
    last = told["trials"][-1]
    assert last["why"] == "" and last["change"] > 0.05
    assert [row["step"] for row in told["moments"]] == [0, 4, 8, 12, 16]
    rows = [json.loads(line) for line in (chosen / "train_log.jsonl").read_text().splitlines()]
    curve = {row["step"]: row["dev"] for row in rows if "dev" in row}
    assert curve == {row["step"]: row["dev"] for row in told["moments"][1:]}
    page = (chosen / "report.html").read_text()
    assert told["returned"] in page and "Dev: nDCG@10 on the pool" in page
    assert told["sentence"] in json.loads((chosen / "comparison.json").read_text())["verdict"]
    assert not {"rejected", "moments", "checkpoints"} & {path.name for path in chosen.iterdir()}


def test_a_poisoned_fit_gives_the_base_back_to_the_bit(
    fit: Fit, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit_job(fit(trainer={"learning_rate": 1.0}))
    assert "Not the model of step" in capsys.readouterr().err
    base = Encoder.load(str(tiny_model))
    assert Encoder.load(str(run.model)).fingerprint() == base.fingerprint()
    back, tuned = weights(run.model), weights(run.folder / "rejected")
    given = weights(tiny_model)  # without the pooler, which is in no vector
    assert equal({name: back[name] for name in given}, given)
    assert not equal(back, tuned) and all(weight.isfinite().all() for weight in tuned.values())
    comparison = run.comparison
    assert comparison.base_came_back and comparison.main.difference == 0
    assert comparison.verdict().startswith("The base model comes back")
    assert "rejected after tuning" in (run.folder / "rejected/README.md").read_text()
    assert "unchanged: it was not made better" in (run.model / "README.md").read_text()
    assert "The base model came back" in (run.folder / "report.html").read_text()
    told_in_full = record(run.folder)
    assert told_in_full["returned"] == "the base model"
    assert told_in_full["tuned"]["nDCG@10"] < comparison.main.base


def test_training_stops_when_dev_does_not_rise(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Moment, "score", property(lambda moment: -moment.step))  # ever less
    run = fit_job(fit())
    assert "Dev has not risen for 2 moments: training stops here." in capsys.readouterr().err
    assert [row["step"] for row in record(run.folder)["moments"]] == [0, 4, 8, 12]


def test_a_resumed_fit_chooses_the_same(
    chosen: Path, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the second moment and before its checkpoint, and again in the midst of the
    choice: the moments after the checkpoint are judged again.
    """
    config = fit(trainer={"checkpoint_every_steps": 6})

    def killed(self: Any, trainer: Any, *rest: Any) -> None:
        real(self, trainer, *rest)
        if trainer.global_step == 8:
            raise KilledFit

    real = Checkpoints.on_train_batch_end
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", killed)
        with pytest.raises(KilledFit):
            fit_job(config)
    run = Path(str(config.output))
    assert len(list((run / "moments").glob("step_*.json"))) == 2
    config.resume, config.output = str(run), None

    def torn(*_: Any, **__: Any) -> None:
        raise KilledFit

    with monkeypatch.context() as patch:
        patch.setattr("whet.verbs.choosing.write_selection", torn)
        with pytest.raises(KilledFit):
            fit_job(config)
    fit_job(config)
    for name in FILES:
        assert (run / name).read_bytes() == (chosen / name).read_bytes(), name


def test_a_fit_that_stopped_early_resumes_to_the_same_end(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last checkpoint is of a step before the last: no more steps are made."""
    config = fit(trainer={"learning_rate": 1.0})
    once = fit_job(config).folder
    config.output = str(tmp_path / "again")

    def killed(*_: Any) -> None:
        raise KilledFit

    with monkeypatch.context() as patch:
        patch.setattr("whet.verbs.choosing.Choosing.choose", killed)
        with pytest.raises(KilledFit):
            fit_job(config)
    config.resume, config.output = config.output, None
    again = fit_job(config).folder
    for name in (*FILES, "rejected/model.safetensors"):
        assert (once / name).read_bytes() == (again / name).read_bytes(), name


def test_without_a_choice_all_is_as_it_was(fit: Fit, tmp_path: Path, learnable: Path) -> None:
    """`select=last` learns from all of train, and leaves nothing of a choice. The hashes of
    tests/golden, which were made before there was one, hold the bits.
    """
    run = fit_job(fit(select={"policy": "last"}))
    assert not (run.folder / "selection.json").exists()
    assert run.comparison.returned == "" and not run.comparison.base_came_back
    assert set(json.loads((run.folder / "metrics.json").read_text())) == {"base", "tuned"}
    assert not (run.model / "words.json").exists()
    rows = [json.loads(line) for line in (run.folder / "train_log.jsonl").read_text().splitlines()]
    assert all("dev" not in row for row in rows)
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["data"]["train pairs"] == 200


def test_a_low_rank_update_is_shared_out_as_an_adapter(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes back merged is the base and half of what the adapter adds."""
    pytest.importorskip("peft")
    monkeypatch.setattr("whet.evaluation.selection.choice.LEVELS", {1.0: -1.0, 0.5: 1.0})
    config = fit(model={"lora_rank": 4}, trainer={"max_steps": 8})
    run = fit_job(config)
    assert record(run.folder)["returned"].startswith("share 0.5 of the change")
    adapter = load_file(run.model / "adapter/adapter_model.safetensors")
    base, back = weights(Path(config.model.name)), weights(run.model)
    name = "encoder.layer.0.attention.self.query"
    low, high = (adapter[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    added = (high @ low) * config.model.lora_alpha / 4
    assert added.abs().max() > 0
    torch.testing.assert_close(back[f"{name}.weight"], base[f"{name}.weight"] + added)


def test_the_query_side_is_judged_beside_the_documents_it_searches(fit: Fit) -> None:
    """Documents keep the base model's vectors, on the dev pool as in the corpus."""
    config = fit(model={"train": "query"}, select={"moments": 1})
    run = fit_job(config)
    model = run.encoder()
    assert isinstance(model, Towers)
    base = Encoder.load(config.model.name)
    assert model.document.fingerprint() == base.fingerprint() != model.query.fingerprint()
    data = read_dataset(config.data)
    dev = parts_of(data, config).dev
    assert dev is not None
    pool = DevPool(dev.relevant().query_rows, np.arange(len(data.corpus)))
    searched = PoolJudge(pool, dev, data, config).judged(model)
    assert record(run.folder)["trials"][-1]["dev"] == pytest.approx(mean(searched), abs=1e-6)


def test_few_queries_are_said_to_tell_nothing(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_set(tmp_path / "few", 25)
    run = fit_job(short(tiny_model, data, tmp_path / "run"))
    assert "20 train queries: too few to hold some out" in capsys.readouterr().err
    assert run.comparison.returned == ""
    assert asdict(run.comparison)["base_came_back"] is False
