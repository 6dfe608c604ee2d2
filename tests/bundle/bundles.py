"""What the tests of bundles share: the small fit they are of, and how to do and undo things."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import whet.bundle.making.make
from whet.bundle.making.openness import Openness
from whet.bundle.provenance import spelled, tree_of
from whet.config import BundleConfig

CANARY = "canary-4711"  # in the name of every folder, and in secrets of the environment
OPTIONS = [
    "select=last",
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


def make_bundle(run: Path, output: Path, **options: Any) -> tuple[Path, Openness, str]:
    """`whet bundle` with these options: folder, openness, root."""
    return whet.bundle.making.make.make_bundle(BundleConfig(str(run), str(output), **options))


def flip(path: Path, place: int | None = None) -> None:
    """Change one byte of a file, by default the one in its middle."""
    content = bytearray(path.read_bytes())
    place = len(content) // 2 if place is None else place
    content[place] ^= 1
    path.write_bytes(content)


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def forge(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda statement: None) -> None:
    """What a stranger can do: the listed hashes follow the files, the statement is changed, and its
    hash tree made anew.
    """
    statement = json.loads((folder / "provenance.json").read_text())
    for listed in [*statement["subject"], *statement["predicate"]["runDetails"]["byproducts"]]:
        if (folder / listed["name"]).is_file():
            listed["digest"]["sha256"] = sha256(folder / listed["name"])
    change(statement)
    write_statement(folder, statement)


def write_statement(folder: Path, statement: dict[str, Any]) -> None:
    """Write a statement with a hash tree that fits it, as far as it has a shape to make one of."""
    with suppress(KeyError, TypeError, AttributeError, ValueError):
        statement["predicate"]["whet_tree"] = tree_of(statement)
    text = spelled(statement).encode("utf-8", "surrogatepass")
    (folder / "provenance.json").write_bytes(text)


def list_file(statement: dict[str, Any], name: str, digest: str) -> None:
    """List one more file in a statement."""
    statement["subject"].append({"name": name, "digest": {"sha256": digest}})


def inputs_in(statement: dict[str, Any]) -> list[dict[str, Any]]:
    """The recorded inputs in a statement, to be changed."""
    inputs: list[dict[str, Any]] = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    return inputs
