"""What the run folders of a recipe say, one folder per seed, as one row."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from whet.bench.claim import applies, claim_verdict
from whet.config import BM25, ClaimConfig
from whet.errors import CheckpointError
from whet.evaluation.measures import score
from whet.evaluation.significance import bootstrap_interval, randomisation_test
from whet.evaluation.trec import read_qrels, read_run
from whet.run.folder import DRAFT

SYSTEMS = ("tuned", "model")  # whose run is the result: of a fit, of an evaluation
BASE = "base"


@dataclass(frozen=True)
class Result:
    """A recipe's figures under one measure.

    `scores` has a dict query id -> value for each seed, `base_scores` those of the model a fit
    began with, `means` every measure of the first seed.
    """

    recipe: str
    data: dict[str, Any]  # name and digest, and the pool searched if not all documents were
    model: str
    claim: ClaimConfig
    scores: list[dict[str, float]]
    base_scores: dict[str, float] | None
    means: dict[str, float]
    seconds: list[float]

    @cached_property
    def values(self) -> list[float]:
        """The mean over queries, one per seed."""
        return [mean(per_query) for per_query in self.scores]

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; None of a single one."""
        return stdev(self.values) if len(self.values) > 1 else None

    @cached_property
    def per_query(self) -> dict[str, float]:
        """Each query's mean over seeds."""
        return {
            query: fmean(per_seed[query] for per_seed in self.scores) for query in self.scores[0]
        }

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the mean over queries."""
        return bootstrap_interval(np.array(list(self.per_query.values())))

    @property
    def base(self) -> float | None:
        """The model's figure before the fit."""
        return None if self.base_scores is None else mean(self.base_scores)

    @property
    def published(self) -> float | None:
        """The figure of the claim, where it is about this model."""
        on_all = self.searched is None  # a pool's figures are higher
        return self.claim.value if on_all and applies(self.claim, self.model) else None

    @property
    def searched(self) -> str | None:
        """The pool that was searched; None: all documents."""
        return self.data.get("judged on")

    @property
    def verdict(self) -> str:
        """Whether the published figure came again."""
        claim = self.claim if self.published is not None else ClaimConfig()
        return claim_verdict(claim, self.value)

    @property
    def kept(self) -> bool:
        """False where a published figure did not come again, and nobody said why."""
        return (
            self.published is None
            or abs(self.value - self.published) <= self.claim.tolerance
            or self.claim.reason is not None
        )

    def p_value(self, other: Result) -> float | None:
        """Of the difference to another recipe on the same queries, by Fisher's randomisation test;
        None where the queries differ.
        """
        if self is other or self.per_query.keys() != other.per_query.keys():
            return None
        mine = np.array([self.per_query[query] for query in other.per_query])
        return randomisation_test(mine - np.array(list(other.per_query.values())))

    def to_dict(self) -> dict[str, Any]:
        """Plain values without those of single queries, ready for JSON."""
        return {
            "recipe": self.recipe,
            "data": self.data,
            "model": self.model,
            "measure": self.claim.measure,
            "values": self.values,
            "mean": self.value,
            "spread": self.spread,
            "interval": list(self.interval),
            "base": self.base,
            "claim": asdict(self.claim),
            "verdict": self.verdict,
            "means": self.means,
            "queries": len(self.per_query),
            "seconds": self.seconds,
        }


def mean(scores: dict[str, float]) -> float:
    """The mean over queries, summed without rounding as in whet.evaluation.

    >>> mean({"q": 0.25, "r": 0.75})
    0.5
    """
    return math.fsum(scores.values()) / len(scores)


def read_result(recipe: str, folders: Sequence[Path]) -> Result:
    """The row of a recipe from its finished run folders, one per seed.

    Raises CheckpointError where a folder lacks a part.
    """
    try:
        return _read(recipe, folders)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{error.filename} is missing, so that recipe is not done. Remove its folder and run "
            "the command again."
        ) from error


def _read(recipe: str, folders: Sequence[Path]) -> Result:
    import yaml

    config = yaml.safe_load((folders[0] / "config.yaml").read_text(encoding="utf-8"))
    claim = ClaimConfig(**config["claim"])
    metrics = json.loads((folders[0] / "metrics.json").read_text(encoding="utf-8"))
    facts = [json.loads((folder / "environment.json").read_text()) for folder in folders]
    # A fit has a tuned model, and an eval the model alone.
    system = next(name for name in SYSTEMS if name in metrics)
    scores = [_scores(folder, system, claim.measure) for folder in folders]
    base = _scores(folders[0], BASE, claim.measure) if BASE in metrics else None
    known = ("name", "digest", "judged on")
    data = {key: facts[0]["data"][key] for key in known if key in facts[0]["data"]}
    return Result(
        recipe=recipe,
        data=data,
        model=config["model"]["name"],
        claim=claim,
        scores=scores,
        base_scores=base,
        means=metrics[system],
        seconds=[round(sum(run["seconds"].values()), 1) for run in facts],
    )


def _scores(folder: Path, system: str, measure: str) -> dict[str, float]:
    """Every query's score, from the run and the judgments that the folder holds."""
    run = read_run(folder / "trec" / f"{system}.run.gz")
    scores = score(run, read_qrels(folder / "trec" / "qrels"), [measure])
    return next(iter(scores.per_query.values()))


def is_done(folder: Path, verb: str) -> bool:
    """Whether a run folder of `whet eval` or `whet fit` is finished."""
    if (folder / DRAFT).exists():  # killed while it moved its files to their places
        return False
    return (folder / ("model" if verb == "fit" else "metrics.json")).exists()


def model_label(name: str) -> str:
    """A model's name as tables show it: a folder by its last part.

    >>> model_label("models/my-model"), model_label("BAAI/bge-small-en")
    ('my-model', 'bge-small-en')
    """
    return "BM25" if name == BM25 else Path(name).name
