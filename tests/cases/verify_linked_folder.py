"""A bundle has no links and no pipes: each is named, and nothing is read through one. Exit 1."""

from __future__ import annotations

import os
import shutil

from harness import bundle, done, expect, forge, place, whet

with place() as here:
    folder = bundle(here / "bundle")
    shutil.move(folder / "data", here / "other")
    (folder / "data").symlink_to(here / "other")
    forge(folder, lambda s: s.update(subject=[o for o in s["subject"] if "data/" not in o["name"]]))
    found = whet("verify", str(folder))
    expect(found.code == 1 and "A LINK" in found.out, f"a linked folder is named ({found.state})")
    again = whet("reproduce", str(folder), "output=again")
    expect(again.code == 1, f"reproduce does not train on it ({again.state})")

    folder = bundle(here / "extra")
    (here / "strays").mkdir()
    (here / "strays/x.py").write_text("x")
    (folder / "extra").symlink_to(here / "strays")
    os.mkfifo(folder / "pipe")
    found = whet("verify", str(folder), timeout=60)
    named = found.code == 1 and "A LINK" in found.out and "NO ORDINARY FILE" in found.out
    expect(named, f"a linked folder of strays and a pipe are named ({found.state})")

    folder = bundle(here / "file")
    shutil.move(folder / "README.md", here / "card.md")
    (folder / "README.md").symlink_to(here / "card.md")
    found = whet("verify", str(folder))
    expect(
        found.code == 1 and "A LINK" in found.out, f"a file that is a link is named ({found.state})"
    )
done()
