"""The lines of a run: one per stage, written the moment it ends, and what is read from them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from folders import CARRIED, ROOT, SOURCES
from kept import Records

Line = dict[str, Any]
RECORDS = Records("gpu")


class Lines:
    """The records, and a copy in another folder where there is one ($OUT)."""

    def __init__(self, path: Path, out: Path | None) -> None:
        copies = [path, *([out / path.name] if out else [])]
        self.targets = list(dict.fromkeys(copy.resolve() for copy in copies))

    def keep(self, line: Line) -> None:
        """Append a line to every copy."""
        for path in self.targets:
            records = Records(path.stem)
            records.path = path
            records.keep(line)

    def all(self) -> list[Line]:
        """The lines of all copies, and those carried here in .gpu/gpu.jsonl; each once, by time."""
        found: dict[str, Line] = {}
        for path in (CARRIED / "gpu.jsonl", *self.targets):
            for line in read(path):
                found.setdefault(json.dumps(line, sort_keys=True), line)
        return sorted(found.values(), key=lambda line: line["time"])


def read(path: Path) -> list[Line]:
    """The whole lines of a file; a last one that was cut off is left out."""
    if not path.exists():
        return []
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def newest(lines: Iterable[Line], commit: str, device: str) -> dict[str, Line]:
    """By stage, the last line of this commit and device; a good one goes before one that is not.

    A stage that was good and then could not be repeated stays good: nothing in the code changed.
    """
    found: dict[str, Line] = {}
    for line in lines:
        if (line["commit"], line["device"]) != (commit, device):
            continue
        before = found.get(line["stage"])
        if before is None or line["status"] == "ok" or before["status"] != "ok":
            found[line["stage"]] = line
    return found


def now() -> str:
    """The time, to the second, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def commit() -> str:
    """The commit; where files differ from it, or git is not there, with a hash of the sources."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        name = done.stdout.strip() if done.returncode == 0 else ""
    except OSError:
        name = ""
    if name and not name.endswith("-dirty"):
        return name
    return f"{name or 'sources'}-{_digest()}"


def _digest() -> str:
    """Of the packages' sources: what is measured. How it is measured is not in it."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def told(line: Line) -> str:
    """A line for the terminal.

    >>> told({"stage": "loss", "status": "ok", "seconds": 3.0, "why": "", "figures": {"a": 1}})
    'loss                      ok           3.0 s  1 figures'
    """
    rest = line["why"] or f"{len(line['figures'])} figures"
    return f"{line['stage']:<25} {line['status']:<8} {line['seconds']:7.1f} s  {rest}"
