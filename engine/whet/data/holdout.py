"""Which split a dataset is judged on, and how one is made where there is none."""

from __future__ import annotations

import numpy as np

from whet.data.load import Dataset
from whet.data.table import TextTable
from whet.data.text import hash64, normalise
from whet.errors import DataError
from whet.types import Qrels

MOST_HELD_OUT = 1_000


def eval_split_name(dataset: Dataset) -> str | None:
    """test where there is one, else dev, else None."""
    return next((name for name in ("test", "dev") if name in dataset.splits), None)


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
