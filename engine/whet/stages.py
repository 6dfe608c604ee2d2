"""The stages jobs share: judge an encoder on a split, mine with it, and write both down."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
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
    HybridSearch,
    changed_queries,
    check_measures,
    compare,
    evaluate_run,
    judgments_of,
    run_of,
    score,
    words_of,
    write_per_query,
    write_qrels,
    write_run,
)
from whet.mine import Mined, mining_rescorer
from whet.mine.miner import mine
from whet.mine.part import mine_part
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.report import with_texts
from whet.run_folder import write_json
from whet.types import CorpusShard, Embeddings, Negatives, Positives, Qrels
from whet.world import concatenated, share, stacked, together, world

PROBED = 32  # texts encoded to measure a process
UNEVEN = 1.3  # a process this much faster than another gets more of the corpus


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


class Pace:
    """How fast each process encodes, measured once: the faster get more of the corpus, unless all
    are to get the same in every run (`even`).
    """

    def __init__(self, even: bool = False) -> None:
        self.rates_W: np.ndarray | None = np.ones(world().size) if even else None

    def part(self, rows: int, encoder: Encoder | Towers, config: EncodeConfig | None) -> slice:
        """This process's rows of the corpus."""
        if self.rates_W is None:
            text = "a text as long as many a paragraph is, to see how many of them go by " * 4
            encode = partial(encoder.encode, [text] * PROBED, config=config)
            together(encode)  # the first call also loads and compiles
            start = time.monotonic()
            together(encode)
            rates_W = 1 / stacked(np.array([time.monotonic() - start]))[:, 0]
            uneven = rates_W.max() > UNEVEN * rates_W.min()
            self.rates_W = rates_W if uneven else np.ones(world().size)
        return share(rows, self.rates_W)


def embed(
    encoder: Encoder | Towers,
    data: Dataset,
    qrels: Qrels,
    *,
    store: Path,
    config: EncodeConfig | None,
    pace: Pace | None = None,
) -> tuple[Embeddings, Embeddings | CorpusShard]:
    """Vectors of the judged queries, ascending by row, and of the corpus.

    Of several processes each encodes a part of both; all get all queries, and each its part of the
    corpus.
    """
    queries = embed_queries(encoder, data, qrels.query_rows, store=store, config=config)
    if world().size == 1:
        return queries, embed_documents(encoder, data, None, store=store, config=config)
    part = (pace or Pace()).part(len(data.corpus), encoder, config)
    rows = np.arange(part.start, part.stop)
    shard = embed_documents(encoder, data, rows, store=store, config=config)
    return queries, CorpusShard(data.corpus.ids, shard.vectors, part.start)


def embed_queries(
    encoder: Encoder | Towers,
    data: Dataset,
    rows: np.ndarray,
    *,
    store: Path,
    config: EncodeConfig | None,
) -> Embeddings:
    """Vectors of some queries; of several processes each encodes a part, and all get all."""
    own = rows[share(len(rows))]
    encoded = together(
        lambda: encode_table(
            encoder, data.queries, kind="query", rows=own, store=store, config=config
        )
    )
    if world().size == 1:
        return encoded
    ids = data.queries.ids
    return Embeddings([ids[int(row)] for row in rows], concatenated(encoded.vectors))


def embed_documents(
    encoder: Encoder | Towers,
    data: Dataset,
    rows: np.ndarray | None,
    *,
    store: Path,
    config: EncodeConfig | None,
) -> Embeddings:
    """Vectors of some documents, or of all, encoded by this process alone; if that fails in one
    process it does in all.
    """
    return together(
        lambda: encode_table(
            encoder, data.corpus, kind="document", rows=rows, store=store, config=config
        )
    )


def judge(
    encoder: Encoder | Towers,
    data: Dataset,
    qrels: Qrels,
    *,
    store: Path,
    config: EvaluateConfig,
    encode: EncodeConfig | None = None,
    pace: Pace | None = None,
) -> Evaluation:
    """Search all documents for every judged query, by words too where the model counts them, and
    score the result.
    """
    queries, corpus = embed(encoder, data, qrels, store=store, config=encode, pace=pace)
    search = None
    if isinstance(encoder, Towers) and encoder.words:
        texts = data.queries.texts(qrels.query_rows)
        search = HybridSearch(texts, words_of(data.corpus), encoder.words)
    judgments = judgments_of(qrels, data.queries.ids, data.corpus.ids)
    return evaluate_run(queries, corpus, judgments, config, search=search)


def judge_words(data: Dataset, qrels: Qrels, config: EvaluateConfig) -> Evaluation:
    """The same by BM25, which has no vectors."""
    measures = check_measures(config.measures, config.depth)
    queries, documents, asked = data.queries, data.corpus, qrels.query_rows
    found = words_of(documents).best(queries.texts(asked), config.depth)
    run = run_of(*found, queries.ids_of(asked), documents.ids)
    return Evaluation(run, score(run, judgments_of(qrels, queries.ids, documents.ids), measures))


def mine_with(
    encoder: Encoder,
    data: Dataset,
    train: Qrels,
    positives: Positives,
    *,
    store: Path,
    policy: MiningConfig,
    encode: EncodeConfig | None,
) -> Mined:
    """Hard negatives of every query with a relevant document; rows of the result are the query
    table's.
    """
    relevant = train.relevant()
    queries, corpus = embed(encoder, data, relevant, store=store, config=encode)
    rows = relevant.query_rows
    return mine_rows(queries, corpus, rows, data, positives.take(rows), policy=policy)


def mine_rows(
    queries: Embeddings,
    corpus: Embeddings | CorpusShard,
    query_rows_Q: np.ndarray,
    data: Dataset,
    positives: Positives,
    *,
    policy: MiningConfig,
    among: np.ndarray | None = None,
    refresh: int = 0,
    previous: Negatives | None = None,
) -> Mined:
    """`mine` for some rows of the query table, by whose numbers the result speaks, as does
    `previous` (the refresh before). `positives` are those of the rows. `among` are the documents of
    which `corpus` has the vectors, if not all.
    """
    rescore = mining_rescorer(policy, data.queries, data.corpus, query_rows_Q)
    if previous is not None:
        selected = np.searchsorted(query_rows_Q, previous.query_rows_R)
        previous = replace(previous, query_rows_R=selected)
    if among is None:
        mined = mine(
            queries,
            corpus,
            positives,
            policy,
            refresh=refresh,
            rescore=rescore,
            previous=previous,
        )
    else:
        mined = mine_part(
            queries,
            corpus,
            among,
            positives,
            policy,
            refresh=refresh,
            rescore=rescore,
            previous=previous,
        )
    return mined.renumbered(query_rows_Q)


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
