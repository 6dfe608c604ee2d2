"""How far a measure may be from the recorded one and still be the same result."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from whet.bundle.facts import Facts, read_run
from whet.errors import ConfigError
from whet.evaluate.significance import bootstrap_interval

SEEDS, QUERIES = "two standard deviations over seeds", "half the 95 % interval of the queries' mean"


def spread_of(facts: Facts, others: list[str]) -> dict[str, Any]:
    """By measure how far a repeat may be off, and what that figure is.

    Of `others`, runs of the same recipe and data with other seeds, two standard deviations over all
    runs: a single one would call a third of honest repeats wrong. Without any, half the 95 %
    interval (bootstrap) of the mean over the judged queries, which says how sure the mean is and
    not how much training varies. ConfigError for a run of another recipe.
    """
    if others:
        runs = [facts, *(_same_recipe(facts, Path(other)) for other in others)]
        tuned = [run.metrics["tuned"] for run in runs]
        allowed = {
            name: 2 * statistics.stdev(values[name] for values in tuned) for name in tuned[0]
        }
        return {"kind": SEEDS, "runs": len(runs), "allowed": allowed}
    rows = (facts.folder / "per_query.jsonl").read_text(encoding="utf-8").splitlines()
    tuned = [json.loads(row)["tuned"] for row in rows]
    allowed = {}
    for name in facts.metrics["tuned"]:
        low, high = bootstrap_interval(np.array([values[name] for values in tuned]))
        allowed[name] = (high - low) / 2
    return {"kind": QUERIES, "runs": 1, "allowed": allowed}


def _same_recipe(facts: Facts, folder: Path) -> Facts:
    """The other run; refused where anything but the seed differs."""
    other = read_run(folder)
    mine, theirs = ({**run.config, "seed": None} for run in (facts, other))
    odd = [name for name in mine if mine[name] != theirs.get(name)]
    if facts.origin["data"]["digest"] != other.origin["data"]["digest"]:
        odd.append("data")
    if odd:
        raise ConfigError(
            f"spread_of={folder}: that run is of another recipe, {' and '.join(odd)} differ. Give "
            "runs that differ in their seed alone."
        )
    if other.config["seed"] == facts.config["seed"]:
        raise ConfigError(
            f"spread_of={folder}: that run has the same seed, {facts.config['seed']}, so it shows "
            "no spread. Give runs with other seeds."
        )
    return other
