"""A broken small file in a run folder is named in a line; a broken forecast is done without."""

from __future__ import annotations

import shutil

import yaml
from harness import data, done, expect, model, place, run, whet

BROKEN = (
    ("config.yaml", "{"),
    ("config.yaml", "[]"),
    ("config.yaml", "\0"),
    ("config.yaml+", "evil: 1\n"),
    ("origin.json", "{bad"),
    ("environment.json", ""),
    ("plan.json", "{bad"),
)

with place() as here:
    data(here / "data")
    model(here / "model")
    for number, (name, text) in enumerate(BROKEN):
        folder = run(here / f"run{number}")
        shutil.rmtree(folder / "model")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["data"]["path"], config["model"]["name"] = str(here / "data"), str(here / "model")
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        path = folder / name.rstrip("+")
        path.write_text((path.read_text() if name.endswith("+") else "") + text)
        command = whet("fit", f"resume={folder}")
        needed = name != "plan.json"
        fine = not command.trace and (command.code != 0) == needed
        expect(
            fine and (not needed or path.name in command.err), f"{name} {text!r}: {command.state}"
        )
done()
