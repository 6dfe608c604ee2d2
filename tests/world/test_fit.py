"""A whole job done by several processes: the results of one."""

import json

import numpy as np
import pytest
from jobs import config_of
from processes import in_processes

from whet.verbs.fit import begin

OPTIONS = {
    "trainer": {"batch_size": 16, "max_steps": 12, "learning_rate": 1e-3, "log_every_n_steps": 1},
    "mining": {"num_negatives": 2},
    "refresh": {"policy": "steps", "every_n_steps": 5},
}
STRATEGIES = {
    "ddp": {"name": "ddp"},
    "fsdp": {"name": "fsdp"},
    "deepspeed 2": {"name": "deepspeed", "stage": 2},
    "deepspeed 3": {"name": "deepspeed", "stage": 3},
}

NIGHTLY = [pytest.mark.slow, pytest.mark.nightly]
ASKED_IN_CI = ("ddp", "deepspeed 3")


@pytest.fixture
def fit(tiny_data, tiny_model, tmp_path):
    """Do a job in so many processes; the folder, and the measures that each process returns."""

    def run(processes, strategy, name, refresh=OPTIONS["refresh"]):
        where = str(tiny_data), str(tiny_model), strategy
        options = {**OPTIONS, "refresh": refresh}
        config = config_of(*where, None, options)
        config.output = str(tmp_path / name)
        folder = begin(config)
        return folder, in_processes(processes, "jobs", "fitted", *where, str(folder), options)

    return run


def log(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy",
    [pytest.param(name, marks=[] if name in ASKED_IN_CI else NIGHTLY) for name in STRATEGIES],
)
def test_two_processes_do_the_job_of_one(fit, strategy):
    alone, measures = fit(1, {"name": "single"}, "alone")
    both, found = fit(2, STRATEGIES[strategy], "both")
    assert found[0] == found[1]  # every process knows the result
    assert found[0] == pytest.approx(measures[0], abs=0.02)
    here, there = log(alone), log(both)
    assert [row["step"] for row in there] == list(range(1, 13))
    assert [row["loss"] for row in there] == pytest.approx([row["loss"] for row in here], rel=1e-3)
    for name in ("model/model.safetensors", "report.html", "metrics.json", "negatives"):
        assert (both / name).exists(), name
    assert not (both / "checkpoints").exists() and not (both / ".scratch").exists()
    first = [
        (folder / "negatives/step_00000000.parquet").stat().st_size for folder in (alone, both)
    ]
    assert np.isclose(*first, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["candidates", pytest.param("mapped", marks=NIGHTLY)])
def test_cheap_refreshes_of_two_processes_are_those_of_one(fit, scope):
    refresh = {
        "policy": "overlap",
        "min_overlap": 1.0,
        "every_n_steps": 5,
        "scope": scope,
        "max_share": 0.7,
        "candidates": 5,
    }
    alone, measures = fit(1, {"name": "single"}, "alone", refresh)
    both, found = fit(2, {"name": "ddp"}, "both", refresh)
    assert found[0] == pytest.approx(measures[0], abs=0.02)
    for name in ("loss", "probe_overlap", "refresh_overlap", "refresh_encoded_share"):
        here, there = ([row[name] for row in log(run) if name in row] for run in (alone, both))
        assert len(here) == (12 if name == "loss" else 2)
        assert there == pytest.approx(here, rel=1e-3, abs=0.02), name


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("ddp", "deepspeed 3") else NIGHTLY)
        for name in STRATEGIES
    ],
)
def test_two_processes_choose_as_one(tiny_data, tiny_model, tmp_path, strategy):
    """The moments are judged with the whole weights, whoever holds which part of them."""
    chosen = []
    for processes, name in ((1, "single"), (2, strategy)):
        where = str(tiny_data), str(tiny_model), STRATEGIES.get(name, {"name": name})
        options = {**OPTIONS, "select": {"policy": "dev", "moments": 2}}
        config = config_of(*where, None, options)
        config.output = str(tmp_path / name)
        folder = begin(config)
        in_processes(processes, "jobs", "fitted", *where, str(folder), options)
        chosen.append(json.loads((folder / "selection.json").read_text()))
        assert (folder / "model/model.safetensors").exists()
    alone, both = chosen
    assert [row["step"] for row in alone["moments"]] == [0, 6, 12]
    for one, other in zip(alone["moments"], both["moments"], strict=True):
        assert other == pytest.approx(one, abs=0.03)
    here, there = alone["words"], both["words"]
    assert (here["weight"] > 0) == (there["weight"] > 0) and here["language"] == there["language"]
    assert [row["dev"] for row in there["tried"]] == pytest.approx(
        [row["dev"] for row in here["tried"]], abs=0.05
    )
    assert [row["dev"] for row in both["trials"]] == pytest.approx(
        [row["dev"] for row in alone["trials"]], abs=0.05
    )
