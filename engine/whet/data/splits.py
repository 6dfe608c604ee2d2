"""Which judgments are learned from, and which are judged by."""

from __future__ import annotations

import numpy as np

from whet.config import FitConfig
from whet.data.load import Dataset
from whet.data.readers.rows.kinds import split_name
from whet.data.table import TextTable
from whet.data.text import hash64, normalise
from whet.errors import DataError
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


def eval_qrels(data: Dataset, split: str | None) -> Qrels:
    """The judgments to judge by: the split named, else test, dev, train."""
    return data.split(split or eval_split_name(data) or "train")


def splits_of(data: Dataset, config: FitConfig) -> tuple[Qrels, Qrels]:
    """The judgments to learn from and those to judge by; a tenth is held out where there is no
    test or dev.
    """
    train = training_qrels(data, config.data.train_split)
    name = config.data.eval_split or eval_split_name(data)
    if name is None:
        train, judged = hold_out(train, data.queries)
        count = len(judged.query_rows)
        say(f"No test or dev split: {count:,} train queries are held out to judge by.")
        return train, judged
    return train, data.split(name)


def check_splits(data: Dataset, config: FitConfig) -> None:
    """Refuse what `splits_of` refuses, and say nothing."""
    train = training_qrels(data, config.data.train_split)
    name = config.data.eval_split or eval_split_name(data)
    if name is None:
        hold_out(train, data.queries)
    else:
        data.split(name)


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
    hash_Q = hash64(normalise(text) for text in queries.texts(rows_Q))
    distinct = np.unique(hash_Q[np.isin(rows_Q, qrels.relevant().query_rows_M)])
    if len(distinct) < 2:
        raise DataError(
            f"the train split has {len(distinct)} distinct query text with a relevant document:"
            " too few to hold some out for evaluation. Add judgments, or give qrels/test.tsv."
        )
    chosen = distinct[: min(MOST_HELD_OUT, max(1, len(distinct) // 10))]
    held_M = np.isin(qrels.query_rows_M, rows_Q[np.isin(hash_Q, chosen)])
    return qrels.only(~held_M), qrels.only(held_M)
