"""Which judgments are learned from, and which are judged by."""

from __future__ import annotations

import numpy as np

from whet.config import FitConfig
from whet.data.load import Dataset
from whet.data.readers.passages import with_all_passages
from whet.data.readers.rows.kinds import split_name
from whet.data.table import TextTable
from whet.data.text import hash64, told_apart_by
from whet.errors import ConfigError, DataError
from whet.progress import say
from whet.types import Qrels


def training_qrels(data: Dataset, split: str) -> Qrels:
    """The judgments to learn from. DataError if none of them says relevant."""
    train = data.split(split)
    if not len(train.relevant()):
        raise DataError(
            f"{data.path}: split {split!r} has no relevant document. "
            "Add judgments of at least 1, or choose another data.train_split."
        )
    return train


def pairs_of(data: Dataset, split: str) -> Qrels:
    """`training_qrels`, of a document in passages each passage."""
    return with_all_passages(training_qrels(data, split), data.home_N)


def eval_qrels(data: Dataset, split: str | None) -> Qrels:
    """The judgments to judge by: the split named, else test, dev, train."""
    return data.split(split or eval_split_name(data) or "train")


def splits_of(data: Dataset, config: FitConfig) -> tuple[Qrels, Qrels]:
    """The judgments to learn from and those to judge by; a tenth is held out where there is no
    test or dev. Of one data set: of several each has its own.
    """
    train = training_qrels(data, config.data.train_split)
    name = config.data.eval_split or eval_split_name(data)
    if name is None:
        train, judged = hold_out(train, data.queries)
        count = len(judged.query_rows)
        say(f"{data.path}: no test or dev split, {count:,} train queries are held out to judge by.")
        return with_all_passages(train, data.home_N), judged
    return with_all_passages(train, data.home_N), data.split(name)


def check_splits(data: Dataset, config: FitConfig) -> None:
    """Raise what `splits_of` would, before any work, and say nothing."""
    for part in data.each:
        train = training_qrels(part, config.data.train_split)
        refuse_nothing_to_learn(train, part, config)
        judged_of(part, config)


def judged_of(data: Dataset, config: FitConfig) -> Qrels:
    """The judgments to judge by, as `splits_of` has them, without a word. Of one data set."""
    name = config.data.eval_split or eval_split_name(data)
    if name is None:
        return hold_out(training_qrels(data, config.data.train_split), data.queries)[1]
    return data.split(name)


def refuse_nothing_to_learn(train: Qrels, data: Dataset, config: FitConfig) -> None:
    """ConfigError for steps of one pair without negatives, DataError for documents that all answer
    every query: a step's loss is 0 there, and no weight moves.
    """
    judged_not = bool(len(train.only(train.relevance_M < 1)))
    mined = config.mining.num_negatives > 0
    if config.trainer.batch_size == 1 and not mined and not judged_not:
        raise ConfigError(
            "trainer.batch_size=1 without negatives: a step has one document and nothing to tell "
            "it from. Raise trainer.batch_size, or mining.num_negatives."
        )
    group_of_N = np.asarray(data.corpus.group_of_N())
    relevant = train.relevant()
    others = group_of_N if mined else group_of_N[train.doc_rows_M]
    candidates = np.unique(others)
    if np.bincount(relevant.query_rows_M).max() + 1 < len(candidates):
        return
    pairs_P2 = np.stack([relevant.query_rows_M, group_of_N[relevant.doc_rows_M]], axis=1)
    own_Q = np.asarray(data.own_Q)
    queries = relevant.query_rows[np.isin(own_Q[relevant.query_rows], candidates)]
    pairs_P2 = np.concatenate([pairs_P2, np.stack([queries, own_Q[queries]], axis=1)])
    counts = np.bincount(np.unique(pairs_P2, axis=0)[:, 0])
    if counts[relevant.query_rows].min() >= len(candidates):
        size = f"{len(candidates):,} different document{'s' if len(candidates) > 1 else ''}"
        raise DataError(
            f"{data.path}: {size} to learn from, relevant to every query: there is nothing to tell "
            "them from. Add documents that are not relevant."
        )


MOST_HELD_OUT = 1_000


def eval_split_name(dataset: Dataset) -> str | None:
    """test where there is one, else dev (or validation, val, ...), else None."""
    for wanted in ("test", "dev"):
        for name in dataset.splits:
            if split_name(name) == wanted:
                return name
    return None


def hold_out(qrels: Qrels, queries: TextTable) -> tuple[Qrels, Qrels]:
    """(train, eval): a tenth of the distinct query texts that have a relevant document goes to
    eval, 1 to 1,000.

    Chosen by the hash of the normalised text, smallest first: a pure function of the set of texts,
    whatever their order, and queries of the same text stay together. DataError if there are fewer
    than two such texts.
    """
    rows_Q = qrels.query_rows
    hash_Q = hash64(map(told_apart_by, queries.items(rows_Q)))
    distinct = np.unique(hash_Q[np.isin(rows_Q, qrels.relevant().query_rows_M)])
    if len(distinct) < 2:
        raise DataError(
            f"the train split has {len(distinct)} distinct query text with a relevant document:"
            " too few to hold some out for evaluation. Add judgments, or give qrels/test.tsv."
        )
    chosen = distinct[: min(MOST_HELD_OUT, max(1, len(distinct) // 10))]
    held_M = np.isin(qrels.query_rows_M, rows_Q[np.isin(hash_Q, chosen)])
    return qrels.only(~held_M), qrels.only(held_M)
