"""An adaptation within a time (`budget=30m`): all documents, or as many as there is time for.

Those that are nearest by words to what is asked come first, as `mining.scope=candidates` takes them
in a fit, then others at random; they are encoded until the time is up. A clock says how many that
were, so the same command may encode more or fewer of them.

Shape suffixes: N documents, P of them encoded, S documents that queries are written for, Q queries,
K documents per query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic as clock
from typing import Any

import numpy as np

from whet.adaptation.log import QueryLog
from whet.adaptation.planned.costs import around_some_s
from whet.adaptation.planned.planner import AdaptPlan, make_adapt_plan
from whet.adaptation.wanted import LOOKED_AT
from whet.config import AdaptConfig
from whet.config.ranges import budget_seconds
from whet.data.load import Dataset
from whet.data.text import sentences_of
from whet.encoding.store import embeddings_folder
from whet.encoding.table import BLOCK, encode_table, fill_store, open_store
from whet.errors import ConfigError
from whet.evaluation.lexical import Words
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.plan.table import rough_duration
from whet.plan.workload import sampled
from whet.progress import say, track
from whet.types import Embeddings

RESERVE = 0.1  # of the time, as in a fit: what is forecast to take more has no time for all
AIM = 0.95  # of the time is when a run ends that encodes until it is up
LEAST = 500  # documents: with fewer there is nothing to choose the wanted judgments among
TURNS = 40  # looks at the clock, about
DEPTH = 1_000  # documents by words for each query, at most


@dataclass(frozen=True)
class AdaptBudget:
    """What a budget has time for: all documents; or, until the clock shows `stop_s`, about `some`
    of them, `at_once` between two looks at it.
    """

    budget: str
    documents: int
    whole: bool
    all_s: float  # that all of it takes
    stop_s: float
    some: int
    at_once: int
    document_s: float

    def __str__(self) -> str:
        told = f"about {rough_duration(self.all_s)}"
        if self.whole:
            return (
                f"budget={self.budget}: all {self.documents:,} documents. That takes {told}; the "
                "rest is a reserve."
            )
        return (
            f"budget={self.budget}: about {self.some:,} of {self.documents:,} documents are "
            f"encoded, the nearest by words first; all of them take {told}."
        )


@dataclass(frozen=True)
class SomeEncoded:
    """The documents that a budget had time for, by rows, ascending; and, without a log, those that
    queries are to be written for, whose nearest by words are among them.
    """

    budget: str
    documents: int
    rows_P: np.ndarray
    drawn_S: np.ndarray
    rest_s: float  # that encoding the others takes

    def sentence(self) -> str:
        """What there was time for, what follows, and what comes later."""
        return (
            f"budget={self.budget} had time to encode {len(self.rows_P):,} of {self.documents:,} "
            "documents, the nearest by words to what is asked first: the judgments wanted next "
            "are chosen among these. How much words count needs no vectors. `whet search` and "
            f"`whet label` encode the other documents first, in about "
            f"{rough_duration(self.rest_s)} on this machine."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "budget": self.budget,
            "encoded": len(self.rows_P),
            "documents": self.documents,
            "rest_s": round(self.rest_s, 1),
        }


def measured_budget(
    data: Dataset, log: QueryLog, base: Encoder | Towers, config: AdaptConfig, *, start_s: float
) -> AdaptBudget | None:
    """What the budget has time for, which is measured and told; None without one. The clock showed
    `start_s` when the command began.

    Raises what `budget_of` raises.
    """
    if config.budget is None:
        return None
    say(f"Measuring what fits into {config.budget} ...")
    plan = make_adapt_plan(data, log, base, config, opened_s=0.0)
    budget = budget_of(plan, config.budget, start_s=start_s)
    say(str(budget))
    return budget


def budget_of(plan: AdaptPlan, budget: str, *, start_s: float) -> AdaptBudget:
    """What the time from `start_s` on is enough for, by a plan.

    ConfigError where it is not for all documents, and a matrix is to learn from their order; and,
    with the least that works, where it is not for 500.
    """
    limit_s, spent_s = budget_seconds(budget), clock() - start_s
    amounts, rates = plan.amounts, plan.rates
    documents, all_s = amounts.documents, spent_s + plan.now.seconds
    whole = all_s <= (1 - RESERVE) * limit_s
    if not whole and plan.search == "vectors":
        raise ConfigError(
            f"budget={budget} has no time for all {documents:,} documents, and search=vectors "
            f"learns from the order of all of them. Give budget={_at_least(all_s)}, or leave "
            "search=vectors out."
        )
    document_s = amounts.corpus.tokens * rates.token_s
    before_s, after_s = around_some_s(amounts, rates, some=int(limit_s / document_s))
    around_s = spent_s + plan.now.stages["words"] + before_s + after_s + plan.now.stages["write"]
    least_s = around_s + min(LEAST, documents) * document_s
    if not whole and least_s > AIM * limit_s:
        raise ConfigError(
            f"budget={budget} is too little: the least that works here is about "
            f"budget={_at_least(least_s)}, for {min(LEAST, documents)} documents."
        )
    return AdaptBudget(
        budget=budget,
        documents=documents,
        whole=whole,
        all_s=all_s,
        stop_s=start_s + AIM * limit_s - after_s - plan.now.stages["write"],
        some=min(documents, int((AIM * limit_s - around_s) / document_s)),
        at_once=int(np.clip(limit_s / TURNS / document_s, 16, BLOCK)),
        document_s=document_s,
    )


def _at_least(seconds: float) -> str:
    """As a budget is written, with its reserve."""
    return f"{int(seconds / (1 - RESERVE) / 60) + 1}m"


def encode_some(
    base: Encoder | Towers,
    data: Dataset,
    words: Words,
    log: QueryLog,
    *,
    config: AdaptConfig,
    budget: AdaptBudget,
) -> tuple[Embeddings, SomeEncoded | None]:
    """Encode documents until the time of the budget is up; None beside their vectors where that
    came to all of them.
    """
    count = len(data.corpus)
    drawn_S = np.empty(0, np.int64)
    if not log.queries:
        drawn_S = np.sort(sampled(np.arange(count), LOOKED_AT, config.seed))
    asked = log.queries or [sentences_of(text)[0] for text in data.corpus.texts(drawn_S)]
    drawn = np.random.default_rng(config.seed).permutation(len(asked))[:LOOKED_AT]
    looked_at = [asked[int(place)] for place in np.sort(drawn)]  # those `wanted_of` looks at
    order_N = nearest_first(words, looked_at, drawn_S, seed=config.seed)
    encoder, store = base.side("document"), embeddings_folder()
    vectors = open_store(encoder, kind="document", store=store, config=config.encode)
    done = 0
    with track("Encoding what fits", count, "texts") as advance:
        while done < count and (not done or clock() < budget.stop_s):
            rows = order_N[done : done + budget.at_once]
            fill_store(
                encoder, data.corpus, rows, kind="document", vectors=vectors, config=config.encode
            )
            done += len(rows)
            advance(len(rows))
    rows_P = np.sort(order_N[:done])
    corpus = encode_table(
        base, data.corpus, kind="document", store=store, config=config.encode, rows=rows_P
    )
    if done == count:
        return corpus, None
    near_S = drawn_S[np.isin(drawn_S, rows_P)]
    rest_s = (count - done) * budget.document_s
    return corpus, SomeEncoded(budget.budget, count, rows_P, near_S, rest_s)


def nearest_first(
    words: Words, asked: Sequence[str], drawn_S: np.ndarray, *, seed: int
) -> np.ndarray:
    """All rows of the corpus, int64 [N]: those of `drawn_S`; then the documents that share words
    with the queries, the first of each, the second of each and so on; then the others at random.
    """
    near_QK = words.best(asked, min(DEPTH, words.documents))[1]
    first = np.concatenate([drawn_S, near_QK.T.ravel()])
    first = first[first >= 0]
    first = first[np.sort(np.unique(first, return_index=True)[1])]
    rest = np.setdiff1d(np.arange(words.documents), first, assume_unique=True)
    return np.concatenate([first, np.random.default_rng(seed).permutation(rest)])
