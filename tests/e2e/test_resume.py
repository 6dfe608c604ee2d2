"""Killed at any moment, a run goes on and ends with the weights it would have had."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

OPTIONS = [
    "select=last",
    "trainer.batch_size=16",
    "trainer.max_epochs=12",
    "trainer.learning_rate=1e-3",
    "trainer.checkpoint_every_steps=1",
    "mining.num_negatives=2",
    "refresh=epoch",
]
SHARE, FALLEN = "refresh.max_share", "refresh.min_overlap"


def whet(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "whet_launch", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out + err


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        steps = [int(path.name[5:]) for path in run.glob("checkpoints/step_????????")]
        if max(steps, default=0) >= step:
            return
        time.sleep(0.002)
    raise AssertionError(f"no checkpoint of step {step}: {process.communicate()[1]}")


@pytest.fixture(scope="module")
def fit(tiny_data, tiny_model):
    return ["fit", f"data={tiny_data}", f"model={tiny_model}", *OPTIONS]


@pytest.fixture(scope="module")
def uninterrupted(fit, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    finish(whet(*fit, f"output={run}"))
    return run


def assert_same_end(run: Path, uninterrupted: Path) -> None:
    for name in ("model/model.safetensors", "metrics.json", "train_log.jsonl"):
        assert (run / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    assert not (run / "checkpoints").exists() and not (run / ".scratch").exists()


@pytest.mark.parametrize("step", [pytest.param(3, marks=pytest.mark.nightly), 23])
def test_kill_9_then_resume_equals_uninterrupted(fit, uninterrupted, tmp_path, step):
    run = tmp_path / "run"
    process = whet(*fit, f"output={run}")
    wait_for_step(run, step, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "model").exists()  # it was killed in the middle
    assert "Going on at step" in finish(whet("fit", f"resume={run}"))
    assert_same_end(run, uninterrupted)


@pytest.mark.parametrize(
    "refresh",
    [
        pytest.param(words, id=name, marks=marks)
        for name, marks, words in (
            (
                "candidates",
                [pytest.mark.nightly],
                ["refresh=candidates", "refresh.candidates=4", f"{SHARE}=0.7"],
            ),
            ("mapped", [pytest.mark.nightly], ["refresh=mapped", f"{SHARE}=0.4"]),
            ("overlap", [pytest.mark.nightly], ["refresh=overlap", f"{FALLEN}=0.6"]),
            ("both", [], ["refresh=overlap", f"{FALLEN}=0.6", "refresh.scope=mapped"]),
        )
    ],
)
def test_cheap_refreshes_resume_as_if_uninterrupted(fit, tmp_path, refresh):
    options = [*fit[:-1], *refresh, "refresh.every_n_steps=4", "trainer.max_steps=40"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    finish(whet(*options, f"output={whole}"))
    process = whet(*options, f"output={run}")
    wait_for_step(run, 22, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "model").exists()  # it was killed in the middle
    finish(whet("fit", f"resume={run}"))
    assert_same_end(run, whole)


def test_interrupt_saves_and_says_how_to_go_on(fit, uninterrupted, tmp_path):
    run = tmp_path / "run"
    process = whet(*fit, f"output={run}")
    wait_for_step(run, 9, process)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130, err
    assert f"whet fit resume={run}" in err and "Traceback" not in err
    finish(whet("fit", f"resume={run}"))
    assert_same_end(run, uninterrupted)


def test_resume_refuses_changed_data(fit, uninterrupted, tiny_data, tmp_path):
    other = tmp_path / "data"
    (other / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
        (other / name).write_bytes((tiny_data / name).read_bytes())
    with (other / "queries.jsonl").open("a") as file:
        file.write('{"_id": "new", "text": "bace"}\n')
    begun = tmp_path / "run"
    shutil.copytree(uninterrupted, begun)
    shutil.rmtree(begun / "model")
    process = whet("fit", f"resume={begun}", f"data={other}")
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 1, err
    assert "was begun with other data" in err and "Traceback" not in err


def test_finished_run_is_not_resumed(uninterrupted):
    process = whet("fit", f"resume={uninterrupted}")
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 2, err
    assert "that run is finished" in err and "Traceback" not in err


def test_output_that_holds_something_is_refused(fit, uninterrupted):
    before = {path: os.stat(path).st_mtime_ns for path in uninterrupted.rglob("*")}
    process = whet(*fit, f"output={uninterrupted}")
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 2, err
    assert "holds something already. Choose another folder, or add resume=" in err
    assert before == {path: os.stat(path).st_mtime_ns for path in uninterrupted.rglob("*")}
