"""What a plan promises, counted in a tiny job: bytes of state, of activations and of checkpoints,
tokens of steps; and how a run keeps and compares its forecast.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whet.config import FitConfig
from whet.data.load import Dataset, load_dataset
from whet.data.positives import positives_of
from whet.data.splits import splits_of
from whet.model.encoder import Encoder
from whet.plan.estimate import STATE_BYTES
from whet.plan.footprint import Shape, every_strategy, footprint, setting_of
from whet.plan.forecast import Forecast
from whet.plan.make import keep_plan, make_plan, plan_path
from whet.plan.table import bytes_text, plan_text, rough_duration
from whet.plan.workload import Split, stand_in_examples, workload_of
from whet.training.batches.order import Order
from whet.training.module import Contrastive
from whet.training.strategies import strategy_of
from whet.training.timing import timed_steps

STAGES = {"judge the base model": 1.0, "mine": 2.0, "train": 3.0, "judge the tuned model": 4.0}


class Job:
    """A tiny job in all its parts."""

    def __init__(self, data: Path, model: Path, **trainer: Any) -> None:
        self.config = FitConfig()
        self.config.data.path, self.config.model.name = str(data), str(model)
        self.config.trainer = replace(self.config.trainer, batch_size=16, **trainer)
        self.data: Dataset = load_dataset(str(data))
        train, judged = splits_of(self.data, self.config)
        positives = positives_of(train, self.data.queries, self.data.corpus)
        self.split = Split(train, judged, positives)
        self.encoder = Encoder.load(self.config.model)
        self.examples = stand_in_examples(self.data, self.split, self.config)

    @property
    def order(self) -> Order:
        return Order(len(self.examples), self.config.trainer.batch_size, self.config.seed)

    def forecast(self, folder: Path) -> Forecast:
        return Forecast(folder, self.data, self.split, self.encoder, self.config)


@pytest.fixture(scope="module")
def job(tiny_data: Path, tiny_model: Path) -> Job:
    return Job(tiny_data, tiny_model)


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_state_is_what_adamw_and_a_checkpoint_hold(
    job: Job, tiny_model: Path, tmp_path: Path, lora_rank: int
) -> None:
    """Weights, gradients and two moments, byte by byte; and a checkpoint's file but for names."""
    encoder = Encoder.load(replace(job.config.model, lora_rank=lora_rank))
    strategy = strategy_of(job.config.strategy, 1.0)
    module = Contrastive(encoder, job.examples, job.order, job.config, strategy)
    optimizer = module.configure_optimizers()["optimizer"]
    trained = [p for p in encoder.parameters() if p.requires_grad]
    for p in trained:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moments = [m for kept in optimizer.state.values() for m in kept.values() if m.ndim]
    work = workload_of(job.data, job.split, encoder, job.config, store=tmp_path)
    setting = setting_of(encoder, job.config, work, base=0.0, gpu=True)
    held = footprint(every_strategy(1)["single"], replace(setting, half=False)).device
    assert held["weights"] == sum(p.nbytes for p in encoder.parameters())
    assert held["gradients"] == sum(p.grad.nbytes for p in trained if p.grad is not None)
    assert held["optimizer"] == sum(m.nbytes for m in moments)
    saved = {"weights": [p.detach().clone() for p in trained], "moments": moments}
    torch.save(saved, tmp_path / "state")
    written = (tmp_path / "state").stat().st_size
    assert 0 <= written - STATE_BYTES * setting.shape.trained < 64_000


def test_activations_of_a_token_are_near_the_formula(job: Job) -> None:
    """Counted where autograd keeps them, each storage once, weights left out."""
    encoder = copy.deepcopy(job.encoder).train()
    weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    tokens = encoder.tokenize(["bace difo guka lemi nopu rase tivo zu " * 4] * 16, "document")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vector_BD = encoder.forward_tokens(tokens)
    count = sum(map(len, tokens))
    assert count == 16 * 32 and vector_BD.requires_grad
    per_token = sum(storage.nbytes() for storage in kept.values()) / count
    assert 0.4 < per_token / Shape.of(encoder).unit_bytes < 1.3


def test_a_step_is_the_mean_of_those_to_come(job: Job, tmp_path: Path) -> None:
    """With six steps or fewer all of them are looked at."""
    config = replace(job.config, trainer=replace(job.config.trainer, max_epochs=1))
    work = workload_of(job.data, job.split, job.encoder, config, store=tmp_path)
    batches = [job.examples.batch(job.order.step(step), job.encoder) for step in range(work.steps)]
    assert 1 < work.steps == job.order.steps_per_epoch <= 6
    tokens = [sum(map(len, batch.tokens)) for batch in batches]
    assert work.step.tokens == pytest.approx(np.mean(tokens))
    assert work.step.most_tokens == max(tokens)
    assert work.step.texts == pytest.approx(np.mean([len(batch.tokens) for batch in batches]))
    documents = [len(batch.tokens) - batch.queries for batch in batches]
    assert work.step.documents == pytest.approx(np.mean(documents))


@pytest.mark.parametrize(("enough_s", "count"), [(0.0, 1), (1e9, 2)])
def test_timed_steps_are_real_steps(job: Job, enough_s: float, count: int) -> None:
    """A second one where there is time; of the tokens that they said; and they train."""
    encoder = copy.deepcopy(job.encoder)
    before = encoder.fingerprint()
    found = timed_steps(encoder, job.examples, job.config, pairs=9, enough_s=enough_s)
    assert [step.pairs for step in found] == [9] * count
    order = Order(len(job.examples), 9, job.config.seed)
    for number, step in enumerate(found):
        batch = job.examples.batch(order.step(number), encoder)
        assert step.tokens == sum(map(len, batch.tokens)) and step.seconds > 0
    assert encoder.fingerprint() != before


def test_a_run_predicts_once_and_compares_in_the_end(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After one step that does not count and three that do; an interrupted run keeps it."""
    forecast = job.forecast(tmp_path)
    for spent in (50.0, 1.0, 2.0):
        forecast.step_done(spent)
    assert not (tmp_path / "plan.json").exists()
    forecast.step_done(3.0)
    first = json.loads((tmp_path / "plan.json").read_text())["predicted"]
    assert first["after_steps"] == 4 and first["step_s"] == 2.0
    assert first["stages"].keys() == STAGES.keys()
    assert first["stages"]["train"] >= 2.0 * forecast.work.steps
    assert first["seconds"] == pytest.approx(sum(first["stages"].values()), abs=0.05)
    assert f"takes about {rough_duration(first['seconds'])}." in capsys.readouterr().err
    again = job.forecast(tmp_path)
    for _ in range(6):
        again.step_done(900.0)
    again.close(STAGES)
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found["predicted"] == first and "planned" not in found
    assert found["actual"]["seconds"] == 10 and found["actual"]["stages"] == STAGES
    assert found["actual"]["peak_bytes"] > 0


def test_a_forecast_that_cannot_be_read_is_made_anew(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.json").write_text("[")
    forecast = job.forecast(tmp_path)
    assert "plan.json is damaged: no JSON" in capsys.readouterr().err
    for _ in range(4):
        forecast.step_done(1.0)
    assert "predicted" in json.loads((tmp_path / "plan.json").read_text())


def test_a_job_of_one_step_is_predicted_by_it(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    forecast = Job(tiny_data, tiny_model, max_steps=1).forecast(tmp_path)
    forecast.step_done(7.0)
    found = json.loads((tmp_path / "plan.json").read_text())["predicted"]
    assert (found["after_steps"], found["step_s"]) == (1, 7.0)


def test_a_plan_is_kept_for_the_run_that_it_is_about(job: Job, tmp_path: Path) -> None:
    """And says what it leaves out, and a price only for a device that has one."""
    own = tmp_path / "prices.yaml"
    own.write_text("devices: {H200: {usd_an_hour: 7, link_gb_a_second: 1}}")
    launch = replace(job.config.launch, prices=str(own))
    config = replace(job.config, launch=launch, refresh=replace(job.config.refresh))
    config.refresh.policy, config.mining = "continuous", replace(config.mining)
    config.mining.cross_encoder = "x"
    config.strategy = replace(config.strategy, name="deepspeed", stage=2, offload="cpu")
    plan = make_plan(job.data, job.split, job.encoder, config, load_s=3.0)
    told = plan_text(plan)
    for note in ("launch.prices=FILE names another", "A refresh beside the training takes",
                 "Not counted: the cross-encoder", "to move what is offloaded"):  # fmt: skip
        assert note in told
    assert (plan.chosen, plan.usd) == ("deepspeed_stage_2_offload", None)
    path = keep_plan(plan, config, job.data.digest)
    assert path == plan_path(config, job.data.digest)
    kept = json.loads(path.read_text())
    assert kept["seconds"] == pytest.approx(3 + sum(kept["stages"].values()), abs=0.05)
    assert kept["steps"] == plan.work.steps and kept["usd"] is None
    forecast = Job.forecast(job, tmp_path)
    forecast.config = config
    forecast.close(STAGES)
    assert json.loads((tmp_path / "plan.json").read_text())["planned"] == kept


@pytest.mark.parametrize(
    ("count", "told"),
    [(-1, "0"), (0, "0"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"),
     (3 * 2**29, "1.5 GiB"), (2**50, "1,024.0 TiB")],
)  # fmt: skip
def test_bytes_in_words(count: float, told: str) -> None:
    assert bytes_text(count) == told


UNITS = {"s": 1, "min": 60, "h": 3600, "days": 86_400}


@pytest.mark.parametrize("seconds", [0, 1, 59, 60, 3599, 3600, 86_399, 86_400, 1e6, 12_345.6])
def test_a_duration_reads_back_to_its_lesser_unit(seconds: float) -> None:
    words = rough_duration(seconds).split()
    pairs = list(zip(words[::2], words[1::2], strict=True))
    read = sum(int(count) * UNITS[unit] for count, unit in pairs)
    assert 0 <= round(seconds) - read < UNITS[pairs[-1][1]]
