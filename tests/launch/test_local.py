"""`launch=local` with several processes: one result, and faults on the way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import CLEAN, last_loss, processes_of, started, wait_for_step, wait_until, whet

OPTIONS = [
    "select=last",
    "trainer.batch_size=16",
    "trainer.max_epochs=50",
    "trainer.learning_rate=1e-3",
    "trainer.checkpoint_every_steps=5",
]


@pytest.fixture(scope="module")
def fit(tiny_data: Path, tiny_model: Path) -> list[str]:
    return ["fit", f"data={tiny_data}", f"model={tiny_model}", *OPTIONS]


def test_two_processes_do_one_job(fit: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = whet(*fit, "trainer.max_steps=6", "launch.num_workers=2", f"output={run}")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.count("Run folder:") == 1  # the leader alone speaks
    assert "Warning" not in done.stderr and "Error" not in done.stderr
    assert (run / "model").is_dir() and not (run / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("fault", ["kill follower", "kill leader", "stop leader"])
def test_a_lost_process_is_started_again(fit: list[str], tmp_path: Path, fault: str) -> None:
    words = [*fit, "trainer.max_steps=40", "launch.num_workers=2", "launch.hang_timeout_s=20"]
    calm = whet(*words, f"output={tmp_path}/calm")
    assert calm.returncode == 0, calm.stderr
    run = tmp_path / "run"
    process = started(*words, f"output={run}")
    wait_for_step(run, 10, process)
    hit = processes_of(run)[-1 if fault == "kill follower" else 0]
    os.kill(hit, signal.SIGSTOP if fault == "stop leader" else signal.SIGKILL)
    err = process.communicate(timeout=900)[1]
    assert process.returncode == 0, err
    assert "A process died; all start again from the last checkpoint." in err
    if fault == "stop leader":
        # said by whoever noticed first, the launcher or the other process
        silence = "(was silent|has not answered) for 20 s"
        assert re.search(rf"(Process|process) 0 \([^)]*\b{hit}\) {silence}", err), err
    assert "Traceback" not in err
    assert last_loss(run) == last_loss(tmp_path / "calm")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_saves_and_twice_ends(fit: list[str], tmp_path: Path, times: int) -> None:
    run = tmp_path / "run"
    process = started(*fit, "trainer.max_steps=150", "launch.num_workers=2", f"output={run}")
    wait_for_step(run, 10, process)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 130, err
    goes_on = f"whet: interrupted. Go on with: whet fit resume={run} launch.num_workers=2\n"
    assert err.endswith(goes_on)
    assert "Traceback" not in err
    assert processes_of(run) == []


@pytest.mark.slow
def test_processes_end_with_their_launcher(fit: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = started(*fit, "trainer.max_steps=150", "launch.num_workers=2", f"output={run}")
    wait_for_step(run, 10, process)
    process.kill()
    process.communicate()
    wait_until(lambda: processes_of(run) == [])


@pytest.mark.slow
def test_what_the_user_can_mend_ends_the_job_at_once(fit: list[str], tmp_path: Path) -> None:
    done = whet(*fit, f"model={tmp_path}/nothing", "launch.num_workers=2", f"output={tmp_path}/run")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("whet: ") and "nothing" in last
    assert "start again" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_one_process_needs_no_ray(fit: list[str], tmp_path: Path) -> None:
    words = [*fit, "trainer.max_steps=1", f"output={tmp_path}/run"]
    code = "import sys; from whet_launch.cli.main import main; code = main(sys.argv[1:]); "
    code += "print(code, 'ray' in sys.modules, 'whet_launch.machine.local' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stdout == "0 False False\n", done.stderr


def test_without_the_package_ray_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = whet("fit", "data=x", "launch=ray", PYTHONPATH=path)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == (
        "whet: launch=ray and launch=job need the package ray. "
        'Run `pip install "whet-search[ray]"`.'
    )


MISTAKES = [
    (["launch.min_workers=3", "launch.num_workers=2"], "launch.min_workers=3 is over"),
    (["launch=ray", "launch.address=ray://head:10001"], "send the job with launch=job"),
    (["launch=job", "launch.address=http://h:1"], "needs output=/FOLDER on storage"),
    (["launch=job", "output=/x"], "as http://HEAD:8265, and here is nothing"),
    (["launch=job", "output=/x", "launch.address=h:6379"], "and here is h:6379"),
    (["launch=job", "output=/x", "resume=/y"], "output=FOLDER instead of resume=FOLDER"),
    (["launch=kuberay", "output=/x"], "launch.image=IMAGE"),
    (["resume=auto"], "Write output=FOLDER, too."),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_mistakes_are_told_before_anything_starts(words: list[str], said: str) -> None:
    assert "RAY_ADDRESS" not in CLEAN
    done = whet("fit", "data=x", *words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and done.stderr.count("\n") == 1
