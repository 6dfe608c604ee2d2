"""What judging leaves in a folder: runs in TREC's format, measures, and two systems compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from whet.config import EvaluateConfig
from whet.data.load import Dataset
from whet.evaluation.comparison import Comparison, compare, compare_sets, write_per_query
from whet.evaluation.examples import changed_queries
from whet.evaluation.judge import Evaluation, judgments_of
from whet.evaluation.pool.choose import DocumentPool
from whet.evaluation.trec import write_qrels, write_run
from whet.storage.commit import write_json
from whet.types import Qrels


def judged_facts(qrels: Qrels, pool: DocumentPool | None) -> dict[str, Any]:
    """What is known of a judgement before it: how many queries, and on which pool."""
    facts: dict[str, Any] = {"judged queries": len(qrels.query_rows)}
    return facts if pool is None else {**facts, "judged on": pool.size.of_all}


def write_judged(folder: Path, data: Dataset, qrels: Qrels, runs: dict[str, Evaluation]) -> None:
    """Write trec/qrels and trec/NAME.run.gz of each system."""
    write_qrels(folder / "trec" / "qrels", judgments_of(qrels, data.queries.ids, data.corpus.ids))
    for name, evaluation in runs.items():
        write_run(folder / "trec" / f"{name}.run.gz", evaluation.run, tag=name)
    means: dict[str, Any] = {name: run.scores.means for name, run in runs.items()}
    names = next(iter(runs.values())).sets
    if names:
        means["sets"] = {
            one: {name: run.sets[one].scores.means for name, run in runs.items()} for one in names
        }
    write_json(folder / "metrics.json", means)


def compared(base: Evaluation, tuned: Evaluation, main_measure: str) -> Comparison:
    """Two systems query by query, on one data set or on several."""
    if not base.sets:
        return compare(base.scores, tuned.scores, main_measure, pool=base.pool)
    both = {name: (one.scores, tuned.sets[name].scores) for name, one in base.sets.items()}
    return replace(compare_sets(both, main_measure), pool=base.pool)


def write_comparison(
    folder: Path,
    data: Dataset,
    qrels: Qrels,
    base: Evaluation,
    tuned: Evaluation,
    *,
    config: EvaluateConfig,
    returned: str = "",
) -> Comparison:
    """Compare two systems query by query and write comparison.json and per_query.jsonl; `returned`
    says what of a fit the tuned one is, and why. `tuned` is `base` itself where that came back.
    """
    comparison = replace(
        compared(base, tuned, config.measures[0]),
        returned=returned,
        base_came_back=tuned is base,
    )
    examples = changed_queries(
        base,
        tuned,
        judgments_of(qrels, data.queries.ids, data.corpus.ids),
        queries=data.queries,
        corpus=data.corpus,
        measure=comparison.main_measure,
        count=config.examples,
    )
    write_per_query(folder / "per_query.jsonl", base.scores, tuned.scores)
    write_json(folder / "comparison.json", {**comparison.to_dict(), "examples": examples})
    return comparison
