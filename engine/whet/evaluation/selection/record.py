"""selection.json of a run folder: the curves of the moments, what was tried, what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whet.evaluation.selection.choice import Candidate, Choice
from whet.evaluation.selection.moments import Keeper, Moment
from whet.evaluation.selection.small_search import mean
from whet.storage.commit import write_json

FILE = "selection.json"


def write_selection(
    folder: Path,
    keeper: Keeper,
    choice: Choice,
    tuned: Mapping[str, float],
    words: Mapping[str, Any] | None = None,
) -> None:
    """Write it: plain values, which the report draws. `tuned` are the measures of the tuned model
    on the judged queries, which are nowhere else where the base came back; `words` is what was
    found of words beside vectors, None where nothing was tried.
    """
    pool = keeper.pool.pool
    moments = [_plain(moment) for moment in [keeper.base, *keeper.moments]]
    record: dict[str, Any] = {
        "returned": choice.name,
        "sentence": choice.sentence(),
        "measure": choice.measure,
        "dev": {"queries": choice.queries, "base": choice.base},
        "pool": {"queries": len(pool.query_rows_Q), "documents": len(pool.doc_rows_N)},
        "guard": {"queries": len(keeper.base.guard), "max_drop": choice.max_drop},
        "tuned": dict(tuned),
        "moments": moments,
        "trials": [_trial(trial) for trial in choice.trials],
    }
    if words is not None:
        record["words"] = dict(words)
    write_json(folder / FILE, record)


def _trial(trial: Candidate) -> dict[str, Any]:
    plain = {"name": trial.name, **asdict(trial)}
    if not trial.sets:  # one data set
        del plain["sets"], plain["fell"]
    return plain


def _plain(moment: Moment) -> dict[str, Any]:
    guard = {"guard": mean(moment.guard)} if moment.guard else {}
    return {"step": moment.step, "dev": moment.score, **guard, "stop": moment.stop}
