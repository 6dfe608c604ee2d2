"""Fits that are disturbed, and what became of them: the tests' side of driver.py."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
STEPS = 6  # an epoch has five
OPTIONS: dict[str, Any] = {
    "trainer": {
        "batch_size": 16,
        "max_steps": STEPS,
        "learning_rate": 1e-3,
        "log_every_n_steps": 1,
        "checkpoint_every_steps": 2,
    },
    "mining": {"num_negatives": 2, "backend": "blas"},
    "refresh": {"policy": "steps", "every_n_steps": 3},
}
FACTS = ("model/model.safetensors", "metrics.json", "train_log.jsonl")


def shim(folder: Path) -> Path | None:
    """disk.c, compiled; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    target = folder / "disk.so"
    build = [compiler, "-shared", "-fPIC", "-O1", str(HERE / "disk.c"), "-o", str(target), "-ldl"]
    subprocess.run(build, check=True)
    return target


class Place:
    """Where one fit and its faults happen: `disk` holds all it writes, logs lie beside it."""

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self.root = root
        self.disk = root / "disk"
        self.run = self.disk / "run"
        self.tmp = self.disk / "tmp"
        self.tmp.mkdir(parents=True)
        self.cache = cache or self.disk / "cache"


@dataclass
class Ended:
    """The exit code of each process, all they said, and how long it took."""

    codes: list[int]
    said: str
    seconds: float

    @property
    def done(self) -> bool:
        """Whether every process said it was done."""
        return not any(self.codes)

    @property
    def struck(self) -> bool:
        """Whether the fault came."""
        return bool(re.search(r"^(operation|phase) ", self.said, re.MULTILINE))

    @property
    def operations(self) -> int:
        """What the process did to its files."""
        return int(self.said.rpartition("operations: ")[2].split()[0])

    @property
    def batches(self) -> list[list[int]]:
        """The pairs of each batch that was trained on."""
        return [json.loads(row) for row in re.findall(r"^pairs: (.*)$", self.said, re.MULTILINE)]

    @property
    def went_on_at(self) -> int:
        """The step at which a rerun went on."""
        found = re.search(r"^Going on at step (\d+)", self.said, re.MULTILINE)
        return int(found[1]) if found else 0


class Driver:
    """A driver.py at work, one request at a time."""

    def __init__(self, data: Path, model: Path, preload: Path | None) -> None:
        self.options = OPTIONS | {"data": {"path": str(data)}, "model": {"name": str(model)}}
        self.env = os.environ | ({"LD_PRELOAD": str(preload)} if preload else {})
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "driver.py"), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.env,
        )
        self.ready = False

    def fit(self, place: Place, *, options: dict[str, Any] | None = None, **request: Any) -> Ended:
        """Do the fit of a place, or go on with it where it can be; driver.py knows the faults."""
        if not self.ready:
            assert self._answer() == "ready"
            self.ready = True
        begun = (place.run / "config.yaml").exists()
        where = {"resume" if begun else "output": str(place.run)}
        log = place.root / f"log{len(list(place.root.glob('log*')))}"
        whole = {"fault": {}, "victim": 0, "processes": 1, "timeout_s": 60, "port": free_port()}
        whole |= {"options": merged(self.options, options or {}) | where, "log": str(log)}
        whole |= {"cache": str(place.cache), "tmp": str(place.tmp)} | request
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(whole) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self._answer())
        return Ended(answer["codes"], log.read_text(), answer["seconds"])

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the driver died"
        return line

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)


def merged(options: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Options by group, the later ones on top."""
    both = dict(options)
    for name, value in more.items():
        both[name] = both.get(name, {}) | value if isinstance(value, dict) else value
    return both


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A disk in memory at a folder; skips where mounting is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass
class Tally:
    """All faults of a session."""

    recoveries: list[float] = field(default_factory=list)
    wrong: int = 0

    def line(self) -> str:
        """The session's last line."""
        seconds = sorted(self.recoveries)
        return (
            f"{len(seconds)} faults, all recovered, {self.wrong} examples lost or repeated; "
            f"recovery median {seconds[len(seconds) // 2]:.1f} s, worst {seconds[-1]:.1f} s"
        )


TALLY = Tally()


@dataclass
class Undisturbed:
    """What a fit leaves that nothing disturbs."""

    facts: dict[str, bytes]
    batches: list[list[int]]
    cache: Path


def facts_of(run: Path) -> dict[str, bytes]:
    """What must be equal to the bit."""
    return {name: (run / name).read_bytes() for name in FACTS}


def survived(
    driver: Driver,
    place: Place,
    whole: Undisturbed,
    fault: dict[str, Any],
    *,
    mend: Callable[[], None] = lambda: None,
    **request: Any,
) -> Ended | None:
    """Do a fit with a fault and, if that ended it, mend the cause and give the command again; None
    if the fault did not come any more.

    However it goes, the run ends as the undisturbed one: weights, measures, log and examples.
    """
    first = driver.fit(place, fault=fault, **request)
    if not first.struck:
        assert first.done, first.said
        return None
    ends = [first]
    if not (place.run / "model").exists():
        assert not first.done, first.said
        mend()
        ends.append(driver.fit(place, **request))
    check_end(place, whole, ends)
    return first


def check_end(place: Place, whole: Undisturbed, ends: list[Ended]) -> None:
    """The run of several attempts, the last of which finished it, equals the undisturbed one."""
    told = "\n----\n".join(ended.said[-3000:] for ended in ends)
    assert len(ends) == 1 or ends[-1].done, told
    trained: list[list[int]] = []
    for ended in ends:
        trained = trained[: ended.went_on_at] + ended.batches
    TALLY.wrong += differing(trained, whole.batches)
    assert trained == whole.batches, told
    assert facts_of(place.run) == whole.facts, told
    TALLY.recoveries.append(ends[-1].seconds if len(ends) > 1 else 0.0)


def differing(trained: list[list[int]], whole: list[list[int]]) -> int:
    """Examples trained on too often or too rarely."""
    ours, theirs = (Counter(itertools.chain(*batches)) for batches in (trained, whole))
    return sum(abs(ours[pair] - theirs[pair]) for pair in ours | theirs)
