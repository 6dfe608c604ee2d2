"""How much there is to do: texts, tokens, pairs, steps, counted from the data and the options.

Shape suffixes: N texts of a table, S texts of a sample, P pairs, K negatives per query.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whet.config import FitConfig
from whet.data.load import Dataset
from whet.data.table import TextTable
from whet.encoding.store import EmbeddingStore, item_keys
from whet.evaluation.pool.size import pool_size
from whet.evaluation.selection.guard import guard_set
from whet.evaluation.selection.pool import room, shape_of
from whet.model.encoder import Encoder
from whet.processes.devices import choose_device, choose_precision
from whet.run.job import learned_of
from whet.training.batches.examples import Examples
from whet.training.batches.order import Order, order_of, total_steps
from whet.types import Negatives, Positives, Qrels

SAMPLED = 2048  # texts whose tokens are counted
BATCHES = 6  # steps whose texts are counted
COUNTED = 2_000_000  # texts up to which copies, and those that are encoded already, are looked for


@dataclass(frozen=True)
class Split:
    """The judgments a job learns from and those it is judged by, the positives of both; and the dev
    part, where something is chosen by it.
    """

    train: Qrels
    judged: Qrels
    positives: Positives
    dev: Qrels | None = None  # what the weights that come back are chosen by


@dataclass(frozen=True)
class TextCount:
    """Some texts: how many distinct ones, of these not in the store yet, mean tokens of one."""

    distinct: int
    missing: int
    tokens: float

    def part(self, rows: int | None, of: int) -> TextCount:
        """Of so many of the rows, None for all.

        >>> TextCount(90, 60, 10.0).part(50, 100)
        TextCount(distinct=45, missing=30, tokens=10.0)
        """
        if rows is None:
            return self
        distinct, missing = self.distinct * rows // of, self.missing * rows // of
        return TextCount(distinct, missing, self.tokens)


@dataclass(frozen=True)
class Step:
    """One optimizer step: pairs, distinct texts, documents among them, tokens, and the tokens of
    the largest of those looked at.
    """

    pairs: int
    texts: float
    documents: float
    tokens: float
    most_tokens: float


@dataclass(frozen=True)
class ChoosingWork:
    """What choosing the weights takes: dev queries that search the whole corpus twice; moments at
    which a pool and the guard set are encoded.
    """

    moments: int
    dev: TextCount
    document_tokens: float  # of pool and guard set
    query_tokens: float


@dataclass(frozen=True)
class Workload:
    """What one fit has to do."""

    documents: int
    pairs: int
    steps: int
    refreshes: int
    mines: bool
    corpus: TextCount
    judged: TextCount
    learned: TextCount  # queries that the steps read; missing: when the judged ones are stored
    step: Step
    chosen: ChoosingWork | None = None
    queries: int = 0  # of all training pairs, read or not
    pool: int | None = None  # documents judged on; None: all
    among: int | None = None  # documents that mining looks at, at most; None: all

    @property
    def judged_documents(self) -> TextCount:
        """Those that are searched when a model is judged."""
        return self.corpus.part(self.pool, self.documents)

    @property
    def by_words(self) -> bool:
        """Whether documents are searched by words as well."""
        return self.pool is not None or self.among is not None

    @property
    def mined_documents(self) -> TextCount:
        """Those that are searched for negatives."""
        return self.corpus.part(self.among, self.documents)


def workload_of(
    data: Dataset, split: Split, encoder: Encoder, config: FitConfig, *, store: Path
) -> Workload:
    """Count it. Reads every text once, tokenises a few thousand of them."""
    relevant = split.train.relevant()
    stored = Stored(store, encoder, config)
    judged = stored.count(data.queries, split.judged.query_rows, "query")
    corpus = stored.count(data.corpus, np.arange(len(data.corpus)), "document")
    order = order_of(relevant.query_rows_M, config, data.queries)
    steps = total_steps(order, config.trainer)
    learned_rows = learned_of(split.train, config, data.queries).query_rows
    chosen = None
    if split.dev is not None:
        dev = stored.count(data.queries, split.dev.query_rows, "query")
        searched = pool_size(config.evaluate.pool, len(data.corpus)) or len(data.corpus)
        texts = room(searched, len(learned_rows), order.seen(steps), config)
        chosen = _chosen(dev, corpus, texts, config=config, encoder=encoder)
    learned = stored.count(data.queries, learned_rows, "query")
    return Workload(
        documents=len(data.corpus),
        pairs=len(relevant),
        steps=steps,
        refreshes=refreshes(order, steps, config),
        mines=config.mining.num_negatives > 0,
        corpus=corpus,
        judged=judged,
        learned=learned,
        step=_step(stand_in_examples(data, split, config), order, steps, encoder),
        chosen=chosen,
        queries=len(relevant.query_rows),
        pool=pool_size(config.evaluate.pool, len(data.corpus)),
        among=documents_among(relevant, learned_rows, config, len(data.corpus)),
    )


def _chosen(
    dev: TextCount, corpus: TextCount, texts: int, *, config: FitConfig, encoder: Encoder
) -> ChoosingWork:
    """A judgement at a moment encodes about so many `texts`, and the guard set."""
    least = config.select.at_least
    asked, documents = shape_of(texts, dev.distinct, corpus.distinct, least)
    guard = guard_set(config, encoder)
    sides = [] if guard is None else [(guard.documents, "document"), (guard.queries, "query")]
    tokens = [sum(map(len, encoder.tokenize(side.items, kind))) for side, kind in sides] or [0, 0]
    return ChoosingWork(
        moments=config.select.moments,
        dev=dev,
        document_tokens=documents * corpus.tokens + tokens[0],
        query_tokens=asked * dev.tokens + tokens[1],
    )


def documents_among(
    relevant: Qrels, learned: np.ndarray, config: FitConfig, documents: int
) -> int | None:
    """How many documents `mining.scope` looks at, at most: the positives of the queries learned
    from, and for each the candidates by words as if no two had one in common.
    """
    if config.mining.scope == "all" or not config.mining.num_negatives:
        return None
    positives = len(np.unique(relevant.doc_rows_M[np.isin(relevant.query_rows_M, learned)]))
    return min(documents, positives + len(learned) * config.mining.candidates)


def refreshes(order: Order, steps: int, config: FitConfig) -> int:
    """How often training waits for negatives that are mined again."""
    policy = config.refresh.policy
    if policy not in ("epoch", "steps") or not config.mining.num_negatives:
        return 0
    every = order.steps_per_epoch if policy == "epoch" else config.refresh.every_n_steps
    return (steps - 1) // every


class Stored:
    """Counts texts: a text is encoded once, and not at all where the store has it."""

    def __init__(self, store: Path, encoder: Encoder, config: FitConfig) -> None:
        self.store = store
        self.encoder = encoder
        self.fingerprint = encoder.fingerprint()
        self.precision = choose_precision(config.encode, choose_device(config.encode))
        self.seen: dict[str, np.ndarray] = {}

    def count(self, table: TextTable, rows: np.ndarray, kind: str) -> TextCount:
        """The texts in the given rows; those counted before count as encoded."""
        sample = table.items(sampled(rows, SAMPLED))
        tokens = float(np.mean([len(ids) for ids in self.encoder.tokenize(sample, kind)]))
        # Beyond this looking up costs more than it tells: all count as new.
        if len(rows) > COUNTED:
            return TextCount(len(rows), len(rows), tokens)
        keys = np.unique(item_keys(table.items(rows)))
        prompt = self.encoder.recipe.prompt(kind)
        vectors = EmbeddingStore(
            self.store,
            self.fingerprint,
            prompt=prompt,
            precision=self.precision,
            dimension=self.encoder.dimension,
        )
        before = self.seen.get(prompt, keys[:0])
        new = (vectors.find(keys)[0] < 0) & ~np.isin(keys, before)
        # A judged query may be learned from as well, and is in the store by then.
        self.seen[prompt] = np.union1d(before, keys)
        return TextCount(len(keys), int(new.sum()), tokens)


def sampled(rows: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """At most `count` of the rows, drawn evenly, the same for a seed.

    >>> sampled(np.array([3, 5]), 10), len(sampled(np.arange(100), 10))
    (array([3, 5]), 10)
    """
    if len(rows) <= count:
        return rows
    return np.random.default_rng(seed).choice(rows, count, replace=False)


def stand_in_examples(data: Dataset, split: Split, config: FitConfig) -> Examples:
    """Training examples with random documents for the negatives that are not mined yet: as many,
    and about as long.
    """
    examples = Examples(split.train, split.positives, queries=data.queries, corpus=data.corpus)
    wanted = min(config.mining.num_negatives, len(data.corpus))
    if wanted:
        rows = split.train.relevant().query_rows
        drawn = np.random.default_rng(0).integers(len(data.corpus), size=(len(rows), wanted))
        blank = np.zeros(drawn.shape, np.float32)
        negatives = Negatives(rows, drawn, blank, np.zeros_like(drawn), blank[:, 0])
        examples.set_negatives(negatives)
    return examples


def _step(examples: Examples, order: Order, steps: int, encoder: Encoder) -> Step:
    """Means over a few steps. A process tokenises its share; the others' are taken as like it."""
    looked = np.unique(np.linspace(0, max(0, steps - 1), BATCHES).astype(int))
    batches = [examples.batch(order.step(int(step)), encoder) for step in looked]
    tokens = [
        sum(map(len, batch.tokens)) * batch.texts / max(1, len(batch.tokens)) for batch in batches
    ]
    return Step(
        pairs=min(order.batch_size, order.pairs),
        texts=float(np.mean([batch.texts for batch in batches])),
        documents=float(np.mean([batch.texts - batch.queries for batch in batches])),
        tokens=float(np.mean(tokens)),
        most_tokens=float(np.max(tokens)),
    )
