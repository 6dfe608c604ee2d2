"""`launch=ray` on a cluster of two nodes: the results of one machine, and faults on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, last_loss, processes_of, started, wait_for_step, wait_until, whet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STEPS = 60
NOISE = ("Traceback", "(raylet)", "RayTrainWorker", "WARNING", "INFO", "Error")


@pytest.fixture(scope="module")
def fit(tiny_data: Path, tiny_model: Path) -> list[str]:
    return [
        "fit",
        "select=last",
        f"data={tiny_data}",
        f"model={tiny_model}",
        "trainer.batch_size=16",
        "trainer.max_epochs=50",
        f"trainer.max_steps={STEPS}",
        "trainer.learning_rate=1e-4",
        "model.dropout=0",  # its masks depend on the number of processes
        "trainer.checkpoint_every_steps=5",
        "launch.num_workers=2",
    ]


@pytest.fixture(scope="module")
def here(fit: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes of this machine, without Ray."""
    run = tmp_path_factory.mktemp("here") / "run"
    done = whet(*fit, f"output={run}")
    assert done.returncode == 0, done.stderr
    return run


def on(cluster: Cluster, fit: list[str], run: Path, *words: str) -> dict[str, Any]:
    address = f"launch.address={cluster.address}"
    return {"args": [*fit, "launch=ray", address, f"output={run}", *words], "env": cluster.env}


def test_the_results_are_those_of_one_machine_and_ray_is_quiet(
    cluster: Cluster, fit: list[str], here: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    call = on(cluster, fit, run)
    done = whet(*call["args"], **call["env"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [word for word in NOISE if word in done.stderr] == []
    assert f"Model:  {run}/model" in done.stderr
    assert last_loss(run) == pytest.approx(last_loss(here), rel=1e-5)
    there = [json.loads((folder / "metrics.json").read_text()) for folder in (run, here)]
    assert there[0] == there[1]
    assert not (run / ".ray").exists() and not (run / "checkpoints").exists()


def test_a_killed_process_is_started_again(
    cluster: Cluster, fit: list[str], here: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    call = on(cluster, fit, run)
    process = started(*call["args"], **call["env"])
    wait_for_step(run, 10, process)
    os.kill(processes_of(run)[-1], signal.SIGKILL)
    err = process.communicate(timeout=900)[1]
    assert process.returncode == 0, err
    assert "was ended by SIGKILL." in err
    assert "all start again from the last checkpoint" in err
    assert "Traceback" not in err
    assert last_loss(run) == pytest.approx(last_loss(here), rel=1e-5)


def test_a_lost_node_leaves_a_smaller_job(
    cluster: Cluster, fit: list[str], here: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    node = cluster.join()
    call = on(cluster, fit, run, "launch.num_workers=3", "launch.min_workers=1")
    process = started(*call["args"], **call["env"])
    wait_for_step(run, 10, process)
    cluster.remove(node, signal.SIGKILL)
    err = process.communicate(timeout=1200)[1]
    assert process.returncode == 0, err
    assert "all start again from the last checkpoint" in err
    assert last_loss(run) == pytest.approx(last_loss(here), rel=1e-3)


def test_ctrl_c_saves_and_the_run_goes_on_elsewhere(
    cluster: Cluster, fit: list[str], here: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    call = on(cluster, fit, run)
    process = started(*call["args"], **call["env"])
    wait_for_step(run, 10, process)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 130, err
    goes_on = f"whet: interrupted. Go on with: whet fit resume={run} launch.mode=ray"
    assert err.splitlines()[-1].startswith(f"{goes_on} launch.num_workers=2"), err
    assert "was ended" not in err and "Traceback" not in err
    wait_until(lambda: processes_of(run) == [])
    done = whet("fit", f"resume={run}")
    assert done.returncode == 0, done.stderr
    assert "was begun with launch.mode=ray" in done.stderr
    assert last_loss(run) == pytest.approx(last_loss(here), rel=1e-3)


def test_what_the_user_can_mend_is_told_in_one_line(
    cluster: Cluster, fit: list[str], tmp_path: Path
) -> None:
    call = on(cluster, fit, tmp_path / "run", f"model={tmp_path}/nothing")
    done = whet(*call["args"], **call["env"])
    assert done.returncode in (1, 2, 4), done.stderr
    assert "again from the last checkpoint" not in done.stderr  # trying again is of no use
    assert done.stderr.splitlines()[-1].startswith("whet: ")
    assert "nothing" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_a_node_that_does_not_see_the_run_folder_is_named(
    cluster: Cluster, fit: list[str], tmp_path: Path
) -> None:
    hide = f'mount -t tmpfs tmpfs {tmp_path} && exec "$@"'
    wrapped = ("unshare", "--mount", "bash", "-c", hide, "bash")
    if subprocess.run([*wrapped, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    node = cluster.join(*wrapped)
    try:
        call = on(cluster, fit, tmp_path / "run")
        done = whet(*call["args"], **call["env"])
    finally:
        cluster.remove(node)
    assert done.returncode == 4, done.stderr
    assert f"does not see {tmp_path}/run" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_sweep_shares_the_cluster(cluster: Cluster, fit: list[str], tmp_path: Path) -> None:
    words = [word for word in fit if not word.startswith(("trainer.max", "launch"))]
    call = on(cluster, words, tmp_path / "sweep", "seed=1,2", "trainer.max_steps=3", "--multirun")
    done = whet(*call["args"], **call["env"])
    assert done.returncode == 0, done.stderr
    assert "2 runs, 2 at once" in done.stderr
    assert "\n0: Run folder: " in done.stderr and "\n1: Run folder: " in done.stderr
    for number in range(2):
        assert (tmp_path / "sweep" / str(number) / "model").is_dir()
    shutil.rmtree(tmp_path / "sweep" / "1" / "model")  # as if it was interrupted
    call["args"].append("resume=auto")
    done = whet(*call["args"], **call["env"])
    assert done.returncode == 0, done.stderr
    assert "-> done already" in done.stderr and "1 runs, 1 at once" in done.stderr
    assert (tmp_path / "sweep" / "1" / "model").is_dir()


def test_a_suite_of_recipes_shares_the_cluster(
    cluster: Cluster, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "collections").mkdir()
    (tmp_path / "collections" / "nl2bash").symlink_to(tiny_data)
    change = f"model.name={tiny_model} trainer.max_steps=2 claim.digest=null"
    done = whet(
        "bench",
        "mining",
        f"collections={tmp_path / 'collections'}",
        "only=[naive,in_batch]",
        f"change={change}",
        f"output={tmp_path / 'out'}",
        "launch=ray",
        f"launch.address={cluster.address}",
        **cluster.env,
    )
    assert done.returncode == 0, done.stderr
    assert "2 runs, 2 at once" in done.stderr
    assert "| naive |" in done.stdout and "| in_batch |" in done.stdout
