"""The stages jobs share: judge an encoder on a split, mine with it, and write both down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from whet.config import EncodeConfig, EvaluateConfig, MiningConfig
from whet.data.holdout import eval_split_name
from whet.data.load import Dataset
from whet.encode import encode_table
from whet.errors import DataError
from whet.evaluate import (
    Comparison,
    Evaluation,
    changed_queries,
    compare,
    evaluate_run,
    judgments_of,
    write_per_query,
    write_qrels,
    write_run,
)
from whet.mine import Mined, mining_rescorer
from whet.mine.miner import mine
from whet.model.encoder import Encoder
from whet.report import with_texts
from whet.run_folder import write_json
from whet.types import Embeddings, Negatives, Positives, Qrels


def training_qrels(data: Dataset, split: str) -> Qrels:
    """The judgments to learn from. DataError if none of them says relevant."""
    train = data.split(split)
    if not len(train.relevant()):
        raise DataError(
            f"{data.path}: split {split!r} has no relevant document. "
            "Add judgments of at least 1, or choose another data.train_split."
        )
    return train


def eval_qrels(data: Dataset, split: str | None) -> Qrels:
    """The judgments to judge by: the split named, else test, dev, train."""
    return data.split(split or eval_split_name(data) or "train")


def embed(
    encoder: Encoder, data: Dataset, qrels: Qrels, *, store: Path, config: EncodeConfig | None
) -> tuple[Embeddings, Embeddings]:
    """Vectors of the judged queries, ascending by row, and of the corpus."""
    queries = encode_table(
        encoder, data.queries, kind="query", rows=qrels.query_rows, store=store, config=config
    )
    return queries, encode_table(encoder, data.corpus, kind="document", store=store, config=config)


def judge(
    encoder: Encoder,
    data: Dataset,
    qrels: Qrels,
    *,
    store: Path,
    config: EvaluateConfig,
    encode: EncodeConfig | None = None,
) -> Evaluation:
    """Search all documents for every judged query and score the result."""
    queries, corpus = embed(encoder, data, qrels, store=store, config=encode)
    return evaluate_run(
        queries, corpus, judgments_of(qrels, data.queries.ids, data.corpus.ids), config
    )


def mine_with(
    encoder: Encoder,
    data: Dataset,
    train: Qrels,
    positives: Positives,
    *,
    store: Path,
    policy: MiningConfig,
    encode: EncodeConfig | None,
    refresh: int = 0,
    previous: Negatives | None = None,
) -> Mined:
    """Hard negatives of every query with a relevant document; rows of the result are the query
    table's, as those of `previous` are (the refresh before).
    """
    relevant = train.relevant()
    rows = relevant.query_rows
    queries, corpus = embed(encoder, data, relevant, store=store, config=encode)
    rescore = mining_rescorer(policy, data.queries, data.corpus, rows)
    if previous is not None:
        selected = np.searchsorted(rows, previous.query_rows_R)
        previous = replace(previous, query_rows_R=selected)
    mined = mine(
        queries,
        corpus,
        positives.take(rows),
        policy,
        refresh=refresh,
        rescore=rescore,
        previous=previous,
    )
    return mined.renumbered(rows)


def write_mining_report(path: Path, mined: Mined, data: Dataset) -> None:
    """Write the report as JSON, with a few rows' texts to read."""
    write_json(path, with_texts(mined.report.to_dict(), data.queries, data.corpus))


def write_judged(folder: Path, data: Dataset, qrels: Qrels, runs: dict[str, Evaluation]) -> None:
    """Write trec/qrels and trec/NAME.run.gz of each system."""
    write_qrels(folder / "trec" / "qrels", judgments_of(qrels, data.queries.ids, data.corpus.ids))
    for name, found in runs.items():
        write_run(folder / "trec" / f"{name}.run.gz", found.run, tag=name)
    write_json(folder / "metrics.json", {name: run.scores.means for name, run in runs.items()})


def write_comparison(
    folder: Path,
    data: Dataset,
    qrels: Qrels,
    base: Evaluation,
    tuned: Evaluation,
    *,
    config: EvaluateConfig,
) -> Comparison:
    """Compare two systems query by query and write comparison.json and per_query.jsonl."""
    comparison = compare(base.scores, tuned.scores, config.measures[0])
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
