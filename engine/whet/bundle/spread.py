"""How far a measure may be from the recorded one and still be the same result."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from whet.bundle.facts import Facts, read_facts
from whet.bundle.schema import is_score
from whet.errors import CheckpointError, ConfigError
from whet.evaluation.significance import bootstrap_interval
from whet.printable import printable
from whet.storage.readable import readable_text

SEEDS, QUERIES = "two standard deviations over seeds", "half the 95 % interval of the queries' mean"
MOST = 0.05  # what a repeat may be off by at most, however few queries were judged

Scores = dict[str, dict[str, list[float]]]  # by model (base, tuned) and measure, a value per query


def spread_of(facts: Facts, others: list[str]) -> dict[str, Any]:
    """By measure how far a repeat may be off, and what that figure is: what a bundle claims.

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
    scores = read_scores(facts.folder / "per_query.jsonl", remedy="Run the fit again.")
    return {"kind": QUERIES, "runs": 1, "allowed": half_intervals(scores["tuned"])}


def half_intervals(scores: dict[str, list[float]]) -> dict[str, float]:
    """By measure, half the 95 % interval (bootstrap) of the mean over the queries.

    >>> half_intervals({"nDCG@10": [0.5, 0.5, 0.5]})
    {'nDCG@10': 0.0}
    """
    allowed = {}
    for name, values in scores.items():
        low, high = bootstrap_interval(np.array(values))
        allowed[name] = (high - low) / 2
    return allowed


def bound_of(scores: dict[str, list[float]]) -> dict[str, float]:
    """By measure, what a repeat with these scores may be off by: half the interval, at most MOST.

    It is computed from the repeat alone, so nothing in a bundle makes it wider.
    """
    return {name: min(half, MOST) for name, half in half_intervals(scores).items()}


def means_of(scores: dict[str, list[float]]) -> dict[str, float]:
    """By measure the mean over the queries.

    >>> means_of({"nDCG@10": [0.25, 0.75]})
    {'nDCG@10': 0.5}
    """
    return {name: math.fsum(values) / len(values) for name, values in scores.items()}


def read_scores(path: Path, *, remedy: str) -> Scores:
    """The scores of a per_query.jsonl. CheckpointError that names the line where it is damaged, or
    a query comes twice, or a score is no finite number.
    """
    scores: Scores = {"base": {}, "tuned": {}}
    seen: set[str] = set()
    text = readable_text(path, remedy=remedy).removesuffix("\n")
    for number, line in enumerate(text.split("\n"), 1):  # an id may hold other line ends
        row = _row(line)
        if row is None or row["query_id"] in seen:
            raise CheckpointError(
                f"{printable(path)}, line {number}: these are no scores of another query. {remedy}"
            )
        seen.add(row["query_id"])
        for model, measures in scores.items():
            for name, value in row[model].items():
                measures.setdefault(name, []).append(value)
    lengths = {len(values) for measures in scores.values() for values in measures.values()}
    if lengths != {len(seen)} or not seen:
        raise CheckpointError(
            f"{printable(path)}: not every query has a score of every measure. {remedy}"
        )
    return scores


def _row(line: str) -> dict[str, Any] | None:
    """The scores of a query, None where the line is something else."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("query_id"), str):
        return None
    for model in ("base", "tuned"):
        if not isinstance(row.get(model), dict) or not all(map(is_score, row[model].values())):
            return None
    return row


def _same_recipe(facts: Facts, folder: Path) -> Facts:
    """The other run; refused where anything but the seed differs."""
    other = read_facts(folder)
    mine, others = ({**run.config, "seed": None} for run in (facts, other))
    odd = [name for name in mine if mine[name] != others.get(name)]
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
