"""The guard set: queries of other data, on which a returned model may get only so much worse.

The one that comes with Whet (guard.jsonl) has 240 papers of arXiv's cs.* sections: the query is a
paper's title, the document the last 32 words of its abstract. arXiv gives its metadata away under
CC0 1.0; they were taken from github.com/staeiou/arxiv_archive.

Shape suffixes: Q queries, N documents, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from whet.config import DataConfig, EncodeConfig, FitConfig
from whet.data.load import Dataset, read_dataset
from whet.data.splits import eval_qrels
from whet.errors import ConfigError, DataError
from whet.evaluation.judge import judgments_of
from whet.evaluation.selection.small_search import scored, shared_vectors
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.printable import printable
from whet.processes.world import from_leader, together
from whet.progress import say
from whet.types import Embeddings, Item

MEASURE, DEPTH = "nDCG@10", 10
MOST_QUERIES, MOST_DOCUMENTS = 300, 1_000  # of one's own data: more would cost more than they tell


@dataclass(frozen=True)
class Side:
    """Ids and texts or pictures, of the queries or of the documents."""

    ids: Sequence[str]
    items: Sequence[Item]


class GuardSet:
    """Scores models on the guard set, query by query; None of a model that cannot read it."""

    def __init__(
        self,
        queries: Side,
        documents: Side,
        judgments: Mapping[str, Mapping[str, int]],
        encode: EncodeConfig,
    ) -> None:
        self.queries = queries
        self.documents = documents
        self.judgments = judgments
        self.encode = encode

    def judged(self, model: Encoder | Towers) -> dict[str, float]:
        """nDCG@10 of each query; every process of the job calls it and encodes a part."""
        queries, documents = (
            Embeddings(side.ids, shared_vectors(model, side.items, kind, self.encode))
            for side, kind in ((self.queries, "query"), (self.documents, "document"))
        )
        return scored(queries, documents, self.judgments, MEASURE, depth=DEPTH)


def guard_of(config: FitConfig, encoder: Encoder) -> tuple[GuardSet, dict[str, float]] | None:
    """The guard set of a fit and the base model's scores on it; None where nothing is guarded: it
    may lose all, or it cannot read the texts, which is told.
    """
    guard = guard_set(config, encoder)
    if guard is None:
        if config.guard.max_drop < 1:
            say(
                "Nothing is guarded: the model reads pictures, and the guard set that comes with "
                "Whet is of texts. guard.data= names queries of other data."
            )
        return None
    try:
        return guard, guard.judged(encoder)
    except ConfigError:  # its tokenizer knows few of the words
        if config.guard.data is not None:
            raise
        say(
            "Nothing is guarded: the model does not know the English words of the guard set. "
            "guard.data= names queries of other data."
        )
        return None


def guard_data(config: FitConfig) -> Dataset | None:
    """One's own guard set, if the options name one. DataError where it cannot be read, or where no
    query has a relevant document.
    """
    path = config.guard.data
    if path is None or config.select.policy == "last":
        return None
    data = read_dataset(DataConfig(path=path, on_problem=config.data.on_problem))
    if not len(eval_qrels(data, None).relevant()):
        raise DataError(
            f"guard.data={printable(path)}: no query has a relevant document, so nothing can be "
            "guarded. Add judgments, or leave guard.data out."
        )
    return data


def guard_set(config: FitConfig, encoder: Encoder) -> GuardSet | None:
    """The guard set of a fit; None where all may be lost, and for a model that reads no texts,
    where nobody named other data.
    """
    if config.guard.max_drop >= 1:
        return None
    if config.guard.data is not None:
        return _own_guard(config)
    return _guard_of_whet(config.encode) if "texts" in encoder.reads else None


def _guard_of_whet(encode: EncodeConfig) -> GuardSet:
    text = files("whet.evaluation.selection").joinpath("guard.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    ids = [row["id"] for row in rows]
    queries, documents = (Side(ids, [row[name] for row in rows]) for name in ("query", "document"))
    return GuardSet(queries, documents, {id_: {id_: 1} for id_ in ids}, encode)


def _own_guard(config: FitConfig) -> GuardSet:
    """Of the data's test split, else dev, else train: at most so many queries, their documents and
    some others, the same for all fits.
    """
    from_leader(lambda: guard_data(config))  # converted once, where the cache is shared
    data = together(lambda: guard_data(config))
    assert data is not None
    qrels = eval_qrels(data, None).relevant()
    random = np.random.default_rng(0)
    asked = qrels.query_rows
    if len(asked) > MOST_QUERIES:
        asked = np.sort(random.choice(asked, MOST_QUERIES, replace=False))
    qrels = qrels.only(np.isin(qrels.query_rows_M, asked))
    others = random.permutation(len(data.corpus))[:MOST_DOCUMENTS]
    rows = np.unique(qrels.doc_rows_M)
    rows = np.union1d(rows, others[: max(0, MOST_DOCUMENTS - len(rows))])
    return GuardSet(
        Side(data.queries.ids_of(asked), data.queries.items(asked)),
        Side(data.corpus.ids_of(rows), data.corpus.items(rows)),
        judgments_of(qrels, data.queries.ids, data.corpus.ids),
        config.encode,
    )
