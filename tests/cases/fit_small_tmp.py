"""Checkpoints are written where they belong, once, so /tmp may be tiny; a full disk is the one that
is named. Needs root, for a file system of its own in memory; else it is skipped.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from harness import FIT, data, done, expect, model, place

FITTED = [sys.executable, "-B", "-m", "whet_launch", "fit", "data.path=data", "model.name=model"]


def on_small_disk(folder: Path, size: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command while a folder is a file system of so many bytes, for it alone."""
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={size} tmpfs {folder}"
    script = f"{mount} && exec {shlex.join(command)}"
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=200
    )


with place() as here:
    if os.getuid() or not shutil.which("unshare"):
        print("skipped: needs root and unshare")
        done()
    data(here / "data")
    model(here / "model")
    small = ["env", f"TMPDIR={here}/tmp", *FITTED, "output=run", *FIT]
    ended = on_small_disk(here / "tmp", "64k", small)
    last = (ended.stderr.strip().splitlines() or [""])[-1]
    what = "a fit with 64 KB of temporary space and room for the run ends well"
    expect(ended.returncode == 0, f"{what} (exit {ended.returncode}: {last})")
    full = here / "full"
    ended = on_small_disk(full, "400k", [*FITTED, f"output={full}/run", *FIT])
    lines = [line for line in ended.stderr.splitlines() if line.startswith("whet:")]
    told = next((line for line in lines if "space" in line.lower()), "")
    expect(str(full) in told.partition("When the disk")[0], f"the full folder is named ({told})")
    expect(f"resume={full}/run" in told, "and the command to go on with")
done()
