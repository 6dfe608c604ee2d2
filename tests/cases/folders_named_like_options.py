"""Folders whose names look like options: what is a folder here is meant as one."""

from __future__ import annotations

import shutil

from harness import data, done, expect, place, whet

with place() as here:
    data(here / "data")
    for name in ("lr=0.1", "seed=3"):
        (here / "runs" / name).mkdir(parents=True)
        shutil.copytree(here / "data", here / "runs" / name / "data")
    shutil.copytree(here / "data", here / "model")
    for word in ("data", "runs/lr=0.1/data", "runs/seed=3/data", "model"):
        checked = whet("check", word)
        expect(checked.code == 0, f"{word} is checked ({checked.state})")
        expect(checked.out.startswith(f"{word}: BEIR folder"), f"and {word} is what was looked at")
done()
