"""What a fit judges and mines in, and within which time; and the figures that say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whet.config import FitConfig
from whet.config.recorded import deciding
from whet.data.load import Dataset
from whet.data.splits import judged_of
from whet.evaluation.pool.choose import DocumentPool, kept_pool
from whet.evaluation.pool.size import check_pool
from whet.evaluation.results import judged_facts
from whet.evaluation.selection.guard import guard_data
from whet.model.encoder import Encoder, weights_unchanged
from whet.progress import say
from whet.run.early import check_teacher, check_words
from whet.run.job import Job
from whet.storage.readable import readable_json


def check_parts(data: Dataset, config: FitConfig) -> None:
    """Refuse what cannot be judged, guarded, mined or learned from as the options say."""
    guard_data(config)
    check_words(config.mining)
    for part in data.each:
        check_teacher(part, config)
        check_pool(config.evaluate, judged_of(part, config), len(part.corpus))


def within_time(job: Job, encoder: Encoder, spent_s: float) -> Job:
    """The job with what its budget pays for; itself without one. `spent_s` have gone by already."""
    if job.config.budget is None:
        return job
    from whet.plan.budget import within_budget  # with Lightning, which takes a second

    with weights_unchanged():
        return within_budget(job, encoder, spent_s)


def judged_pool(job: Job) -> DocumentPool | None:
    """The documents that both models are judged on, None for all."""
    return kept_pool(job.folder / "pool.npy", job.data, job.eval, job.config.evaluate)


def facts_of_pools(job: Job, pools: Sequence[DocumentPool | None]) -> dict[str, Any]:
    """What is known of the judging of a job's data sets before it."""
    if not job.sets:
        return judged_facts(job.eval, pools[0])
    named = {
        f"{one.data.name}: judged on": pool.size.of_all
        for one, pool in zip(job.sets, pools, strict=True)
        if pool is not None
    }
    return {**judged_facts(job.eval, None), **named}


def facts_of(job: Job, fingerprint: str) -> dict[str, Any]:
    """What the run folder says the job is about; a resume compares it."""
    data = job.data
    return {
        "data": {
            "name": data.name,
            "path": data.path,
            "digest": data.digest,
            "documents": len(data.corpus),
            "queries": len(data.queries),
            "train pairs": len(job.train.relevant()),
            "train queries": len(job.train.relevant().query_rows),
            "train queries that the steps read": len(job.learned.query_rows),
            **_sets_facts(job),
            **judged_facts(job.eval, None),
            **_scores_facts(job),
        },
        "model": {"name": job.config.model.name, "fingerprint": fingerprint},
        "config": deciding(job.config),
        **_budget_facts(job.folder),
    }


def _sets_facts(job: Job) -> dict[str, Any]:
    """How much of what is trained on is of each of several data sets."""
    return {"data sets": shares_in_words(job)} if job.sets else {}


def shares_in_words(job: Job) -> str:
    """The data sets of a job and their shares.

    With data.weights a set of few pairs is read more often than one of many.
    """
    pairs = [len(one.train.relevant()) for one in job.sets]
    weights = job.config.data.weights or [float(count) for count in pairs]
    return ", ".join(
        f"{one.data.name} {weight / sum(weights):.1%} ({count:,} training pairs)"
        for one, weight, count in zip(job.sets, weights, pairs, strict=True)
    )


def tell_shares(job: Job) -> None:
    """Say how much of what is trained on is of each of several data sets."""
    if job.sets:
        why = "by data.weights" if job.config.data.weights else "by their training pairs"
        say(f"Trained on, {why}: {shares_in_words(job)}.")


def _scores_facts(job: Job) -> dict[str, Any]:
    """What a resume compares, where a teacher's scores in the data are learned from."""
    config, scores = job.config, job.data.scores
    learned = config.loss.name != "infonce" and config.distill.teacher is None
    return {"scores": scores.digest} if learned and scores is not None else {}


def _budget_facts(folder: Path) -> dict[str, Any]:
    """What the run's budget paid for."""
    path = folder / "budget.json"
    return {"budget": readable_json(path, remedy="Start a new run.")} if path.exists() else {}
