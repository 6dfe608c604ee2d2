"""Which judgments are learned from, and which are judged by."""

from __future__ import annotations

from whet.config.schema import FitConfig
from whet.data.holdout import eval_split_name, hold_out
from whet.data.load import Dataset
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
