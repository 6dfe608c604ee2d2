"""What the processes of test_fit.py and test_sharded_mining.py do."""

from __future__ import annotations

from typing import Any

import numpy as np

from whet.config import DataConfig, FitConfig, MiningConfig, ModelConfig, StrategyConfig
from whet.mining.miner import Mined, mine
from whet.processes.world import share, together, world
from whet.types import CorpusShard, Embeddings, Positives

Options = dict[str, Any]
Outcome = tuple[list[int], list[list[int]], bytes, list[list[int]], dict[str, Any]]


def fitted(
    data: str, model: str, strategy: Options, folder: str, options: dict[str, Options]
) -> dict[str, float]:
    """The tuned model's measures after `fit_job` in the folder that `begin` made."""
    from whet.verbs.fit import fit_job

    return {row.measure: row.tuned for row in fit_job(config_of(**locals())).comparison.rows}


def config_of(
    data: str,
    model: str,
    strategy: Options,
    folder: str | None,
    options: dict[str, Options],
    **_: Any,
) -> FitConfig:
    config = FitConfig(
        data=DataConfig(path=data),
        model=ModelConfig(name=model, dropout=0.0),
        strategy=StrategyConfig(**strategy),
        resume=folder,
    )
    config.select.policy = "last"
    for group, values in options.items():
        for name, value in values.items():
            setattr(getattr(config, group), name, value)
    return config


def word_searches(table: str, cases: list[Any]) -> list[tuple[bytes, ...]]:
    """Scores and rows of each search by vectors and words, and frequencies, in parts of the corpus
    in the table.
    """
    from whet.data.table import TextTable
    from whet.evaluation.lexical import Words, counts
    from whet.evaluation.lexical.hybrid import HybridSearch

    corpus, found = TextTable(table), []
    counts.BLOCK = 17
    for texts, query_QD, document_ND, weight, k, cuts in cases:
        part = share(len(corpus), np.array(cuts[: world().size]))
        shard = CorpusShard(corpus.ids, document_ND[part], part.start)
        words = Words(corpus, part=part)
        hits = HybridSearch(texts, words, weight)(query_QD, shard, k)
        found.append((*(array.tobytes() for array in hits), words.frequencies(["w1"]).tobytes()))
    return found


def minings(cases: list[Any]) -> list[Outcome]:
    """Everything each mining gives; `cuts` weigh the parts of the corpus by process."""
    return [mining(*case) for case in cases]


def mining(
    queries: Embeddings,
    corpus: Embeddings,
    positives: Positives,
    policy: Options,
    cuts: list[float],
) -> Outcome:
    part = share(len(corpus), np.array(cuts[: world().size]))
    shard = CorpusShard(corpus.ids, corpus.vectors[part], part.start)
    found = mine(queries, shard, positives, MiningConfig(**policy))
    return outcome(found)


def outcome(found: Mined) -> Outcome:
    """What must not depend on the number of processes: all but the time and the backend's word."""
    report = found.report.to_dict()
    for name in ("seconds", "backend", "why"):
        report.pop(name)
    negatives = found.negatives
    return (
        negatives.query_rows_R.tolist(),
        negatives.doc_rows_RK.tolist(),
        negatives.scores_RK.tobytes(),
        negatives.ranks_RK.tolist(),
        report,
    )


def search_with_nan(corpus: Embeddings) -> str:
    """The message of a mining whose corpus holds NaN in one process's part."""
    from whet.errors import MiningError
    from whet.mining.search import windowed_search
    from whet.mining.search.backend import search_task

    part = share(len(corpus))
    shard = CorpusShard(corpus.ids, corpus.vectors[part], part.start)
    try:
        windowed_search(search_task(corpus.vectors[:3], shard), 4)
    except MiningError as error:
        return str(error)
    return "nothing"


def failing() -> str:
    """One process fails; all must hear of it."""

    def work() -> None:
        if world().rank == 1:
            raise ValueError("only here")

    try:
        together(work)
    except ValueError as error:
        return str(error)
    return "nothing"
