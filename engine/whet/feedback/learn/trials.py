"""The ways to learn from judgments, each tried on queries that its weights never saw.

Each is trained on one half of the judged queries and scored on the other, and the reverse.

Shape suffixes: F judged queries, A asked of them, C queries of a check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from whet.config import TuneConfig
from whet.errors import ConfigError
from whet.evaluation.lexical import Words
from whet.feedback.learn.adapt import (
    MATRIX_STEPS,
    Weights,
    blend,
    encoder_steps,
    judged_losses,
    put,
    train_encoder,
    train_matrix,
)
from whet.feedback.learn.checks import JudgedQueries, feedback_check
from whet.feedback.learn.lessons import Lessons, Pool, pool_of
from whet.model.encoder import Encoder
from whet.progress import ReportProgress, counted
from whet.types import Embeddings

ENCODER_FROM = 10  # judged queries with an answer: below, the encoder is not tried
SHARES = (1.0, 0.75, 0.5, 0.25)  # of the change
WEIGHTS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)  # of words, beside a cosine
USUAL, SPREAD = 0.3, 0.1  # what is expected of that weight before anything was judged
MOST_SAID = 1.0  # loss by which a query can speak for one weight against another: clicks err
GUARD_MAY_LOSE = 0.005  # nDCG@10 on the guard set
WHAT = {
    "words": "the weight of words in common",
    "matrix": "a matrix on the query vectors",
    "encoder": "the encoder of queries",
}


@dataclass(frozen=True)
class Trial:
    """What weights made of the queries they never saw: nDCG@10 [C], losses [F]."""

    ndcg_C: np.ndarray
    loss_F: np.ndarray


Trials = dict[str, dict[float, Trial]]  # by method and share
Change = tuple[Weights, Weights]  # before and after


class Work:
    """What all ways of training share."""

    def __init__(
        self,
        encoder: Encoder,
        lessons: Lessons,
        corpus: Embeddings,
        words: Words | None,
        *,
        guard: JudgedQueries,
        config: TuneConfig,
        report_progress: ReportProgress,
        base_weight: float = 0.0,
    ) -> None:
        """`base_weight` is how much words count in the searches of the model as it is."""
        self.base_weight = base_weight if words is not None else 0.0
        self.encoder, self.lessons, self.corpus, self.words = encoder, lessons, corpus, words
        self.seed, self.report_progress = config.seed, report_progress
        report_progress("Reading what was judged", 0, 1)
        self.query_FD = encoder.encode(lessons.queries, kind="query")
        self.pool: Pool = pool_of(lessons, self.query_FD, corpus, words, seed=config.seed)
        self.gains_C = np.flatnonzero(lessons.gains)
        check = feedback_check(lessons, corpus, words)
        self.before_C = check.scores(self.query_FD[self.gains_C], self.base_weight)
        self.loss_F = _losses(self.query_FD, self.pool.weighted(self.base_weight))
        self.guard = guard
        guarded = encoder.encode(guard.texts, kind="query")
        self.known_C = guard.scores(guarded, self.base_weight)
        self.weights = [self.base_weight]  # those the guard set bears
        if words is not None:
            scores = {weight: guard.scores(guarded, weight) for weight in WEIGHTS}
            borne = (weight for weight, score_C in scores.items() if self.borne(score_C))
            self.weights = sorted({self.base_weight, *borne})
        self.weight = self.weight_for(np.arange(len(lessons)))

    def borne(self, score_C: np.ndarray) -> bool:
        """Whether the guard set loses no more than it may."""
        return float((score_C - self.known_C).mean()) >= -GUARD_MAY_LOSE

    def weight_for(self, places: np.ndarray) -> float:
        """How much words count, as some of the queries say with the vectors they have."""
        query_AD, pool = self.query_FD[places], self.pool.take(places)
        usual_A = _losses(query_AD, pool.weighted(USUAL))
        more = {w: _losses(query_AD, pool.weighted(w)) - usual_A for w in self.weights}
        return likely_weight(more)

    def trained(self, method: str, places: np.ndarray, title: str = "") -> Change:
        """The weights before and after training on some of the queries."""
        if method == "words":
            return {}, {}
        total = MATRIX_STEPS if method == "matrix" else encoder_steps(len(places))
        title = title or f"Training {WHAT[method]} on all queries"
        step_done = counted(title, total, self.report_progress)
        pool = self.pool.take(places).weighted(self.weight_for(places))
        if method == "matrix":
            return train_matrix(torch.from_numpy(self.query_FD[places]), pool, step_done)
        queries = [self.lessons.queries[int(i)] for i in places]
        return train_encoder(self.encoder, queries, pool, seed=self.seed, step_done=step_done)

    def cross_fit(self, method: str) -> dict[float, Trial]:
        """For each share of the change, how every query does by weights that never saw it."""
        order = np.random.default_rng(self.seed).permutation(len(self.lessons))
        count, answered = len(self.lessons), len(self.gains_C)
        shares = (1.0,) if method == "words" else SHARES
        trials = {share: Trial(np.zeros(answered), np.zeros(count)) for share in shares}
        # Each half is asked with weights that learned from the other: no query judges what it
        # taught.
        for half in (0, 1):
            learn, ask = np.sort(order[half::2]), np.sort(order[1 - half :: 2])
            title = f"Trying {WHAT[method]}, half {half + 1} of 2"
            before, after = self.trained(method, learn, title)
            weight = self.weight_for(learn)
            asked_C, scored = np.isin(self.gains_C, ask), np.isin(ask, self.gains_C)
            chosen, pool = self.lessons.take(ask), self.pool.take(ask).weighted(weight)
            check = feedback_check(chosen, self.corpus, self.words)
            for share, trial in trials.items():
                query_AD = self.vectors(chosen.queries, blend(before, after, share))
                trial.loss_F[ask] = _losses(query_AD, pool)
                if scored.any():
                    trial.ndcg_C[asked_C] = check.scores(query_AD[scored], weight)
        return trials

    def vectors(self, texts: Sequence[str], weights: Weights) -> np.ndarray:
        """Vectors of queries by other weights; the encoder has its own again afterwards."""
        if "matrix" in weights:
            plain = self.encoder.encode(texts, kind="query")
            moved = plain @ weights["matrix"].numpy().T
            length = np.linalg.norm(moved, axis=1, keepdims=True)
            unit: np.ndarray = moved / np.maximum(length, 1e-6)
            return unit
        own = dict(self.encoder.named_parameters())
        before = {name: own[name].detach().clone() for name in weights}
        put(self.encoder, weights)
        try:
            return self.encoder.encode(texts, kind="query")
        finally:
            put(self.encoder, before)


def likely_weight(more: dict[float, np.ndarray]) -> float:
    """The weight of words of least loss; of equals the smallest.

    `more` has, by weight, how much more loss each query has with it than with the usual one. To
    that comes what makes other weights than the usual one less likely: a normal distribution about
    it, which few queries cannot outweigh and many can.

    >>> likely_weight({0.0: np.array([2.0]), USUAL: np.array([0.0])}) == USUAL
    True
    """
    cost = {
        weight: float(more_A.clip(-MOST_SAID, MOST_SAID).sum())
        + ((weight - USUAL) / SPREAD) ** 2 / 2
        for weight, more_A in more.items()
    }
    return min(cost, key=lambda weight: (round(cost[weight], 4), weight))


def methods_for(asked: str, usable: int, words: bool) -> list[str]:
    """The ways to try, by how much was judged. ConfigError for "words" where they do not count.

    >>> methods_for("auto", 1, words=True), methods_for("matrix", 1, words=True)
    (['words', 'matrix'], ['matrix'])
    """
    if asked == "words" and not words:
        raise ConfigError(
            "tune.method=words learns how much words count, and tune.words=false says that they "
            "do not. Leave one of them out."
        )
    if asked != "auto":
        return [asked]
    methods = ["words", "matrix", "encoder"] if usable >= ENCODER_FROM else ["words", "matrix"]
    return methods if words else methods[1:]


def _losses(query_FD: np.ndarray, pool: Pool) -> np.ndarray:
    with torch.inference_mode():
        return judged_losses(torch.from_numpy(query_FD), pool).numpy().astype(np.float64)


def best(trials: Trials) -> tuple[str, float]:
    """The way and share of the lowest mean loss; of equals the first way and the smaller share."""
    means = [
        (round(float(trial.loss_F.mean()), 4), number, share, method)
        for number, (method, shares) in enumerate(trials.items())
        for share, trial in shares.items()
    ]
    _, _, share, method = min(means)
    return method, share
