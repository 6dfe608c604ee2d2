"""`whet plan`, and what a fit writes of its own prediction."""

import json
import math
from dataclasses import replace

import pytest

from whet.config import FitConfig
from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.data.splits import splits_of
from whet.model.encoder import Encoder
from whet.plan.make import make_plan, plan_path
from whet.plan.table import fit_verdict, plan_text
from whet.plan.workload import Split
from whet_launch.cli.main import main


@pytest.fixture(scope="module")
def options(tiny_data, tiny_model):
    return ["select=last", f"data={tiny_data}", f"model={tiny_model}", "trainer.batch_size=16"]


def test_a_plan_then_the_fit_it_was_about(options, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *options, f"output={tmp_path}/run"]) == 0
    told = capfd.readouterr().out
    assert "It fits: strategy=single" in told and "judge the tuned model" in told
    assert "deepspeed_stage_3_nvme" in told and "USD" in told
    assert not (tmp_path / "run").exists() and not (tmp_path / "runs").exists()
    assert main(["fit", *options, f"output={tmp_path}/run"]) == 0
    found = json.loads((tmp_path / "run" / "plan.json").read_text())
    spent = json.loads((tmp_path / "run" / "environment.json").read_text())["seconds"]
    assert found["actual"]["stages"] == spent
    assert found["actual"]["seconds"] == pytest.approx(sum(spent.values()), abs=0.01)
    for by in ("planned", "predicted"):
        assert found[by]["stages"].keys() == spent.keys()
        assert found[by]["seconds"] > 0
    # One process that did both: its memory grew once. A tiny model's is that of the libraries.
    assert found["planned"]["peak_bytes"] == pytest.approx(found["actual"]["peak_bytes"], rel=0.3)


@pytest.fixture(scope="module")
def plan(tiny_data, tiny_model):
    config = FitConfig()
    config.data.path, config.model.name = str(tiny_data), str(tiny_model)
    config.launch.num_workers = 4
    data = load_dataset(str(tiny_data))
    train, judged = splits_of(data, config)
    encoder = Encoder.load(config.model)
    before = encoder.fingerprint()
    split = Split(train, judged, positives_of(train, data.queries, data.corpus))
    found = make_plan(data, split, encoder, config, load_s=1.0)
    assert encoder.fingerprint() == before, "the probe trained the encoder it was given"
    return found


def test_four_processes_are_planned_for(plan):
    assert plan.chosen == "ddp"
    assert plan.device_hours == pytest.approx(4 * plan.seconds / 3600)
    assert plan.estimate.step.talk_s > 0
    assert "Each process is taken to be on a device like this one" in plan_text(plan)


def test_what_does_not_fit_is_refused_with_a_strategy_that_would(plan):
    sizes = {name: held.device_bytes for name, held in plan.footprints.items()}
    least = min(sizes, key=sizes.get)
    if sizes[least] == sizes["ddp"]:
        pytest.skip("no strategy takes less")
    tight = replace(plan.machine, device_bytes=math.ceil(sizes[least]))
    told = fit_verdict(replace(plan, machine=tight))
    assert told.startswith("It does not fit: strategy=ddp takes") and f"strategy={least}" in told
    nowhere = fit_verdict(replace(plan, machine=replace(plan.machine, device_bytes=1)))
    assert "No strategy does" in nowhere


def test_a_plan_is_found_by_what_decides_the_result():
    config = FitConfig()
    config.data.path = "here"
    elsewhere = replace(config, output="run", launch=replace(config.launch, name="job"))
    assert plan_path(config, "digest") == plan_path(elsewhere, "digest")
    assert plan_path(config, "digest") != plan_path(replace(config, seed=1), "digest")
    assert plan_path(config, "digest") != plan_path(config, "other")
