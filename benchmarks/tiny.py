"""What --quick of the benchmarks shares: tiny data, a tiny model, and records that are thrown away.

A quick run takes seconds and claims nothing. It shows that a script still runs, to its last line:
the tests run every script this way.
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from kept import Records

BUILDERS = Path(__file__).resolve().parents[1] / "tests" / "cases"
DOCUMENTS = 150  # and as many queries: 100 to train on, 50 to test on
HELP = "tiny data and model, a few steps, nothing kept: does everything run?"
DONE = "A quick run: everything ran. Its times and scores mean nothing, and nothing was kept."


class Place(NamedTuple):
    """Where a quick run works."""

    folder: Path

    @property
    def model(self) -> str:
        """The folder of a random model, in place of MiniLM."""
        folder = self.folder / "tiny-model"
        return str(folder if folder.exists() else _builders().model(folder))

    def collection(self, name: str = "tiny") -> Path:
        """The folder of a tiny collection of this name, packed as the real ones are."""
        folder = self.folder / "collections" / name
        if not folder.exists():
            _builders().data(folder, DOCUMENTS)
            for path in folder.glob("*.jsonl"):
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
                path.unlink()
        return folder


def add_option(parser: ArgumentParser) -> None:
    """Give a script its --quick."""
    parser.add_argument("--quick", action="store_true", help=HELP)


@contextmanager
def place(*records: Records) -> Iterator[Place]:
    """A folder for one quick run, with a cache of its own; `records` go there meanwhile."""
    with tempfile.TemporaryDirectory(prefix="whet-quick-") as name:
        folder = Path(name).resolve()
        os.environ["WHET_CACHE"] = str(folder / "cache")
        os.environ.setdefault("WHET_CASES", str(folder))  # where the builders keep their model
        for one in records:
            one.path = folder / one.path.name
        yield Place(folder)
    print(DONE)


def left_out(what: str, why: str) -> None:
    """Say what a run cannot do here."""
    print(f"left out: {what}: {why}", flush=True)


def missing(*modules: str) -> bool:
    """Whether any of these is not installed; says so if it is."""
    lacking = [name for name in modules if find_spec(name) is None]
    if lacking:
        left_out("everything", f"needs {', '.join(lacking)}, not installed here")
    return bool(lacking)


def _builders() -> Any:
    """The harness of the cases: it makes the same tiny things for tests."""
    if str(BUILDERS) not in sys.path:
        sys.path.append(str(BUILDERS))
    import harness

    return harness
