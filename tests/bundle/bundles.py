"""What the tests of bundles share: the small fit they are of, and how to do and undo things."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import whet.bundle.make
from whet.config import BundleConfig

CANARY = "canary-4711"  # in the name of every folder, and in secrets of the environment
OPTIONS = [
    "trainer.batch_size=16",
    "trainer.max_steps=4",
    "trainer.learning_rate=1e-3",
    "trainer.log_every_n_steps=1",
    "mining.num_negatives=2",
    f"launch.address=ray://{CANARY}-host:1",
]
SECRETS = {
    "HF_TOKEN": f"hf_{CANARY}",
    "HOSTNAME": f"{CANARY}-host",
    "USER": f"{CANARY}-user",
    "LOGNAME": f"{CANARY}-user",
}


def whet_in_a_process(*words: str, **environment: str) -> tuple[int, str]:
    """Run a command in a fresh process; its exit code and what it printed."""
    command = [sys.executable, "-m", "whet_launch", *words]
    env = {**os.environ, **SECRETS, **environment}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=250)
    return done.returncode, done.stdout + done.stderr


def fit_words(place: Path, run: Path) -> list[str]:
    """The command of the fit."""
    return ["fit", f"data={place / 'data'}", f"model={place / 'base'}", f"output={run}", *OPTIONS]


def make_bundle(run: Path, output: Path, **options):
    """`whet bundle` with these options: folder, openness, root."""
    return whet.bundle.make.make_bundle(BundleConfig(str(run), str(output), **options))


def flip(path: Path, place: int | None = None) -> None:
    """Change one byte of a file, by default the one in its middle."""
    content = bytearray(path.read_bytes())
    place = len(content) // 2 if place is None else place
    content[place] ^= 1
    path.write_bytes(content)
