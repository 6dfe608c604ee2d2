"""A step's batch against a loop over texts: who is positive, who may be negative, who encodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whet.processes.world
from whet.data.positives import positives_of
from whet.processes.world import World
from whet.training.batches.ahead import Ahead
from whet.training.batches.examples import JUDGED_AT_MOST, Batch, Examples
from whet.training.batches.order import Order
from whet.types import Negatives, Qrels

LETTERS = "abcdef"  # texts: few, so that many are equal


class Table:
    """Texts by row; those that are equal are one group, numbered by its first row."""

    def __init__(self, texts: Sequence[str], name: str) -> None:
        self.rows, self.name = list(texts), name

    def __len__(self) -> int:
        return len(self.rows)

    def id(self, row: int) -> str:
        return f"{self.name}{row}"

    def texts(self, rows: Sequence[int]) -> list[str]:
        return [self.rows[int(row)] for row in rows]

    items = texts

    def group_of_N(self) -> np.ndarray:
        return np.array([self.rows.index(text) for text in self.rows])


class Words:
    """Tokens that say whose they are: a letter's number, and 100 more for a query."""

    tokenizer = None

    def tokenize(self, texts: Sequence[str], kind: str) -> list[list[int]]:
        return [[ord(text) + (100 if kind == "query" else 0)] for text in texts]


def spelled(tokens: list[list[int]]) -> list[str]:
    return [f"q:{chr(t - 100)}" if t >= 197 else chr(t) for (t,) in tokens]


class Case:
    """Queries, documents, judgments and negatives, drawn at random, some pairs of them."""

    def __init__(self, draw: st.DrawFn) -> None:
        letters = st.sampled_from(LETTERS)
        self.queries = Table(draw(st.lists(letters, min_size=1, max_size=5)), "q")
        self.corpus = Table(draw(st.lists(letters, min_size=1, max_size=8)), "d")
        places = st.tuples(
            st.integers(0, len(self.queries) - 1), st.integers(0, len(self.corpus) - 1)
        )
        judged = draw(st.dictionaries(places, st.sampled_from([-1, 0, 1, 2]), min_size=1))
        judged[(0, 0)] = 1
        self.judged = dict(sorted(judged.items()))
        rows = np.array([*self.judged])
        grades = np.array([*self.judged.values()], float)
        self.qrels = Qrels(rows[:, 0], rows[:, 1], grades)
        self.pairs = [place for place, grade in self.judged.items() if grade >= 1]
        width = draw(st.integers(1, 3))
        drawn = st.lists(st.integers(-1, len(self.corpus) - 1), min_size=width, max_size=width)
        self.mined = {
            query: sorted(draw(drawn), reverse=True)
            for query in sorted({query for query, _ in self.pairs})
            if draw(st.booleans())
        }
        self.chosen = draw(
            st.lists(st.integers(0, len(self.pairs) - 1), min_size=1, max_size=6, unique=True)
        )

    def examples(self) -> Examples:
        positives = positives_of(self.qrels, self.queries, self.corpus)  # type: ignore[arg-type]
        tables: Any = {"queries": self.queries, "corpus": self.corpus}
        examples = Examples(self.qrels, positives, **tables)
        if self.mined:
            docs = np.array([*self.mined.values()])
            blank = docs * 0.0
            examples.set_negatives(
                Negatives(np.array([*self.mined]), docs, blank, docs * 0, blank[:, 0])
            )
        return examples

    def batch(self) -> Batch:
        encoder: Any = Words()
        return self.examples().batch(np.array(self.chosen), encoder)

    def relevant(self, query: str) -> set[str]:
        """The texts that answer a query's text, whichever row asks."""
        return {self.corpus.rows[d] for q, d in self.pairs if self.queries.rows[q] == query}

    def rejected(self, query: int) -> list[str]:
        """What was judged not relevant to a query, and joins its negatives."""
        judged = [d for (q, d), grade in self.judged.items() if q == query and grade < 1]
        return self.corpus.texts(judged[:JUDGED_AT_MOST])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    return Case(draw)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_a_batch_is_that_of_a_loop_over_texts(case: Case) -> None:
    """Each candidate once; of each pair, whatever answers its query is no negative, all else is."""
    batch, chosen = case.batch(), [case.pairs[row] for row in case.chosen]
    texts = spelled(batch.tokens)
    asked, candidates = texts[: batch.queries], texts[batch.queries :]
    assert len(set(candidates)) == len(candidates) and batch.texts == len(texts)
    assert batch.queries == len({query for query, _ in chosen})
    joined = {case.corpus.rows[doc] for _, doc in chosen}
    for query, _ in chosen:
        joined |= {case.corpus.rows[doc] for doc in case.mined.get(query, []) if doc >= 0}
        joined |= set(case.rejected(query))
    assert set(candidates) == joined
    mask_BC = batch.targets.mask(len(candidates)).tolist()
    for number, (query, doc) in enumerate(chosen):
        words = case.queries.rows[query]
        assert asked[batch.query_B[number]] == f"q:{words}"
        assert candidates[batch.targets.column_B[number]] == case.corpus.rows[doc]
        assert mask_BC[number] == [text in case.relevant(words) for text in candidates]
    assert batch.pair_ids == [f"q{query} -> d{doc}" for query, doc in chosen[:5]]


@settings(deadline=None, max_examples=25)
@given(cases(), st.integers(2, 5))
def test_processes_divide_the_texts_and_agree_on_the_rest(case: Case, size: int) -> None:
    """Text i of the batch is process i mod W's; targets are those of the whole."""
    whole = case.batch()
    with pytest.MonkeyPatch.context() as patch:
        parts = []
        for rank in range(size):
            patch.setattr(whet.processes.world, "_here", World(rank, size))
            parts.append(case.batch())
    for rank, part in enumerate(parts):
        assert part.tokens == whole.tokens[rank::size]
        assert (part.texts, part.queries) == (whole.texts, whole.queries)
        assert part.query_B.tolist() == whole.query_B.tolist()
        assert part.targets.columns_M.tolist() == whole.targets.columns_M.tolist()
        assert part.targets.offsets_B1.tolist() == whole.targets.offsets_B1.tolist()


def many() -> Examples:
    """Twelve pairs of as many texts."""
    letters = [chr(ord("a") + row) for row in range(12)]
    rows = np.arange(12)
    queries, corpus = Table(letters, "q"), Table(letters, "d")
    qrels = Qrels(rows, rows, np.ones(12))
    positives = positives_of(qrels, queries, corpus)  # type: ignore[arg-type]
    tables: Any = {"queries": queries, "corpus": corpus}
    return Examples(qrels, positives, **tables)


def negatives(shift: int) -> Negatives:
    rows = np.arange(12)
    docs = (rows[:, None] + shift) % 12
    return Negatives(rows, docs, docs * 0.0, docs * 0, docs[:, 0] * 0.0)


@pytest.mark.parametrize("workers", [0, 1, 3, 20])
def test_batches_made_ahead_are_those_made_in_turn(workers: int) -> None:
    """With the negatives as they are at the step, also where others were swapped in before it."""
    examples, plain = many(), many()
    encoder: Any = Words()
    order = Order(12, 5, seed=1)
    ahead = Ahead(examples, encoder, order.step, steps=9, workers=workers)
    for step in range(9):
        if step in (0, 4):
            for one in (examples, plain):
                one.set_negatives(negatives(step + 1))
        found, wanted = ahead.batch(step), plain.batch(order.step(step), encoder)
        assert found.tokens == wanted.tokens and found.pair_ids == wanted.pair_ids
        assert found.targets.columns_M.tolist() == wanted.targets.columns_M.tolist()
        assert max(ahead.ready, default=0) < 9 and len(ahead.ready) <= workers
    ahead.close()
    if ahead.pool is not None:
        with pytest.raises(RuntimeError, match="shutdown"):
            ahead.pool.submit(print)


def test_a_batch_that_fails_fails_at_its_step() -> None:
    """Made in a thread before: the error is that of the step, and nothing hangs."""

    class Broken(Words):
        def tokenize(self, texts: Sequence[str], kind: str) -> list[list[int]]:
            if "c" in texts:
                raise ValueError("the text c")
            return super().tokenize(texts, kind)

    encoder: Any = Broken()
    ahead = Ahead(many(), encoder, lambda step: np.array([step]), steps=12, workers=2)
    for step in range(2):
        assert spelled(ahead.batch(step).tokens) == [f"q:{'ab'[step]}", "ab"[step]]
    with pytest.raises(ValueError, match="the text c"):
        ahead.batch(2)
    ahead.close()
