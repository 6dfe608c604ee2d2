"""Folders to mutate, made once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mutators import fresh_copy

FIT = (
    "select=last",
    "trainer.max_steps=4",
    "trainer.batch_size=16",
    "trainer.checkpoint_every_steps=1",
    "trainer.log_every_n_steps=1",
    "mining.num_negatives=1",
)


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the user's that no folder of a stranger may reach."""
    path = tmp_path_factory.mktemp("outside") / "private"
    path.write_text("PRIVATE-CANARY")
    return path


@pytest.fixture(scope="session")
def begun(
    tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run that was interrupted after two steps, and the same run gone on with to its end."""
    folder = tmp_path_factory.mktemp("begun")
    run, whole = folder / "run", folder / "whole"
    words = ["fit", f"data={tiny_data}", f"model={tiny_model}", f"output={run}", *FIT]
    process = subprocess.Popen([sys.executable, "-m", "whet_launch", *words], env=os.environ)
    while not (run / "checkpoints/step_00000002").is_dir():
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    fresh_copy(run, whole)
    subprocess.run([sys.executable, "-m", "whet_launch", "fit", f"resume={whole}"], check=True)
    return run, whole


@pytest.fixture(scope="session")
def published(begun: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the run, with its inputs."""
    folder = tmp_path_factory.mktemp("published") / "bundle"
    licences = ("data_licence=MIT", "base_licence=MIT")
    words = ["bundle", str(begun[1]), f"output={folder}", "include=[data,base]", *licences]
    subprocess.run([sys.executable, "-m", "whet_launch", *words], check=True)
    return folder
