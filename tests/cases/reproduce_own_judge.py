"""A bundle does not say itself how far its result may be off.

Random weights, measures of 0.99 (in every file that has them) and an allowed spread of 1.0: the
repeat is another result, exit 1.
"""

from __future__ import annotations

import json
from typing import Any

from harness import bundle, done, expect, forge, place, whet


def claim(statement: dict[str, Any]) -> None:
    """The best measures, and all of the scale as their spread."""
    predicate = statement["predicate"]
    for values in (predicate["whet_measures"]["tuned"], predicate["whet_spread"]["allowed"]):
        values.update(dict.fromkeys(values, 1.0))


with place() as here:
    folder = bundle(here / "bundle")
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-400:] = bytes(400)
    (folder / "model.safetensors").write_bytes(weights)
    forge(folder, claim)
    again = whet("reproduce", str(folder), "output=again")
    fine = again.code == 1 and "within the spread" not in again.out
    expect(fine, f"measures that are not those of its queries are not confirmed ({again.state})")

    training = folder / "training"
    rows = [json.loads(line) for line in (training / "per_query.jsonl").read_text().splitlines()]
    for row in rows:
        row["tuned"] = dict.fromkeys(row["tuned"], 1.0)
    (training / "per_query.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = json.loads((training / "metrics.json").read_text())
    metrics["tuned"] = dict.fromkeys(metrics["tuned"], 1.0)
    (training / "metrics.json").write_text(json.dumps(metrics))
    forge(folder, claim)
    again = whet("reproduce", str(folder), "output=again")
    fine = again.code == 1 and "Another result" in again.out
    expect(fine, f"nor are they where its queries claim the same ({again.state})")
done()
