"""A run, its bundle and a model's vectors are as open as the umask says: a server that runs as
another user reads them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from harness import bundle, data, done, expect, place, run, whet

os.umask(0o022)


def closed(folder: Path) -> list[str]:
    """The files that others may not read."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if stat.S_IMODE(path.stat().st_mode) != 0o644]


with place() as here:
    for name, folder in (("run", run("run")), ("bundle", bundle("bundle"))):
        there = len(list(folder.rglob("*.safetensors")))
        expect(there > 0, f"{name}: {there} files of weights")
        expect(not closed(folder), f"{name}: all may read it ({closed(folder)[:3]})")
    data("data")
    whet("mine", "data=data", "model=run", "output=mined")
    whet("encode", "data=data", "model=run", "output=vectors")
    for name in ("mined", "vectors"):
        expect(Path(name, "manifest.json").is_file(), f"{name}: made")
        expect(not closed(here / name), f"{name}: all may read it ({closed(here / name)[:3]})")
    done()
