"""What lies in RUN/model beside the model, whoever put it there, is not published."""

from __future__ import annotations

from harness import done, expect, place, run, whet

CANARY = "PRIVATE-CANARY"

with place() as here:
    model = run(here / "run") / "model"
    (model / "notes.txt").write_text(CANARY)
    (model / ".ipynb_checkpoints").mkdir()
    (model / ".ipynb_checkpoints/x").write_text(CANARY)
    made = whet("bundle", "./run", "output=published")
    expect(made.code == 0 and "notes.txt" in made.err, f"what stays is told ({made.state})")
    files = [path for path in (here / "published").rglob("*") if path.is_file()]
    leaked = [path for path in files if CANARY.encode() in path.read_bytes()]
    expect(bool(files) and not leaked, "files that are not the model's are not published")
done()
