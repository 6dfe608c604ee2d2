"""Mining beside the training: no waiting, one swap for all processes, and a miner may die."""

import contextlib
import json
import os
import signal
import time

import psutil
import pytest
from jobs import config_of
from processes import Processes

from whet.verbs.fit import begin

STEPS = 1200  # of some milliseconds each: the miner starts in a few seconds
LONGER = 2400  # for a miner that is started twice


def options(steps):
    return {
        "trainer": {
            "batch_size": 8,
            "max_epochs": 900,
            "max_steps": steps,
            "log_every_n_steps": 1,
        },
        "mining": {"num_negatives": 2},
        "refresh": {"policy": "continuous"},
    }


@pytest.fixture
def job(request, tiny_data, tiny_model, tmp_path):
    """Begin a job: its folder, and how to start so many processes on it."""
    where = str(tiny_data), str(tiny_model), {}
    steps = getattr(request, "param", STEPS)
    config = config_of(*where, None, options(steps))
    config.output = str(tmp_path / "run")
    folder, last = begin(config), options(steps)
    return folder, lambda count: Processes(count, "jobs", "fitted", *where, str(folder), last)


def swaps(folder, steps=STEPS):
    rows = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    return [row for row in rows if "refresh_overlap" in row]


def children(pid):
    """Those that were spawned: the miner, not the tracker of shared memory."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child.pid] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_negatives_are_swapped_while_training_goes_on(job, count):
    folder, start = job
    start(count).values()
    found = swaps(folder)
    assert found, "nothing was mined while training"
    for row in found:
        assert 0 <= row["refresh_overlap"] <= 1
        assert row["refresh_age_steps"] > 0
        mined_at = row["step"] - 1 - row["refresh_age_steps"]
        assert (folder / f"negatives/step_{mined_at:08d}.parquet").exists()
        assert row["negatives_age_steps"] == row["step"] - mined_at
    ages = [row["refresh_age_steps"] for row in found]
    assert min(ages) >= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("job", [LONGER], indirect=True)
def test_a_killed_miner_is_replaced(job):
    folder, start = job
    processes = start(1)
    deadline = time.monotonic() + 120
    while not (miners := children(processes.running[0].pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(miners[0], signal.SIGKILL)
    code, said = processes.ended(0, 600)
    assert code == 0, said
    assert "another takes its place" in said
    assert swaps(folder, LONGER)
