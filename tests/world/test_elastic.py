"""Processes die or hang, and the job goes on, also with more or fewer of them: every pair is seen
in the step it would have been seen in.
"""

import json
import os
import signal
import socket
import time

import pytest
from jobs import config_of
from processes import Processes

from whet.verbs.fit import begin

STEPS = 14
OPTIONS = {
    "trainer": {
        "batch_size": 16,
        "max_steps": STEPS,
        "learning_rate": 1e-3,
        "log_every_n_steps": 1,
        "checkpoint_every_steps": 2,
    },
    "mining": {"num_negatives": 2},
    "refresh": {"policy": "steps", "every_n_steps": 5},
}
STRATEGIES = {
    "ddp": {},  # auto: ddp, or none of it for one process
    "fsdp": {"name": "fsdp"},
    "deepspeed 1": {"name": "deepspeed", "stage": 1},
    "deepspeed 2": {"name": "deepspeed", "stage": 2},
    "deepspeed 3": {"name": "deepspeed", "stage": 3},
}
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def job(tiny_data, tiny_model, tmp_path_factory):
    """Begin a job: its folder, and how to start so many processes on it."""

    def begun(strategy, **launch):
        options = OPTIONS | {"launch": launch}
        where = str(tiny_data), str(tiny_model), strategy
        config = config_of(*where, None, options)
        config.output = str(tmp_path_factory.mktemp("job") / "run")
        folder = begin(config)
        return folder, lambda count: Processes(
            count, "jobs", "fitted", *where, str(folder), options
        )

    return begun


@pytest.fixture(scope="module")
def losses_alone(job):
    """The loss of each step of one process that nobody disturbs."""
    folder, start = job({})
    start(1).values()
    return losses(folder)


def losses(folder):
    """Of each step, in the order written; the steps must be 1, 2, ... each once."""
    rows = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    return [row["loss"] for row in rows]


def wait_for_step(folder, step, processes):
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        steps = [int(path.name[5:]) for path in folder.glob("checkpoints/step_????????")]
        if max(steps, default=0) >= step:
            return
        assert processes.running[0].exitcode is None, processes.all_ended()[1]
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint of step {step}")


@pytest.mark.parametrize(
    ("strategy", "before", "after"),
    [
        pytest.param("ddp", 2, 1, marks=SLOW),
        pytest.param("ddp", 2, 4, marks=SLOW),
        pytest.param("fsdp", 2, 4, marks=SLOW),
        pytest.param("deepspeed 1", 2, 1, marks=SLOW),
        pytest.param("deepspeed 2", 2, 1, marks=SLOW),
        pytest.param("deepspeed 2", 1, 2, marks=SLOW),
        pytest.param("deepspeed 3", 2, 2, marks=SLOW),
        pytest.param("deepspeed 3", 2, 4, marks=SLOW),
    ],
)
def test_killed_then_on_with_other_processes(job, losses_alone, strategy, before, after):
    folder, start = job(STRATEGIES[strategy])
    processes = start(before)
    wait_for_step(folder, 6, processes)
    processes.running[-1].kill()
    codes, _ = processes.all_ended()
    assert all(codes), "the others noticed"
    assert not (folder / "model").exists()
    start(after).values()
    assert losses(folder) == pytest.approx(losses_alone, rel=1e-3)
    assert (folder / "model/model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_hangs_is_named(job, rank):
    """One is stopped, as by a machine that swaps: the other says which and ends within its time."""
    folder, start = job({}, hang_timeout_s=8.0)
    processes = start(2)
    wait_for_step(folder, 4, processes)
    stopped = processes.running[rank]
    os.kill(stopped.pid, signal.SIGSTOP)
    began = time.monotonic()
    code, said = processes.ended(1 - rank, 60)
    assert time.monotonic() - began < 40, said
    assert code == 75
    assert (
        f"process {rank} ({socket.gethostname()}, {stopped.pid}) has not answered for 8 s" in said
    )
    stopped.kill()
    stopped.join()
    start(2).values()
    losses(folder)
