"""From judgments to a model that is better at them, and the proof on queries it did not learn from.

What is trained is chosen by how much there is, and by trying: each way is trained on one half of
the judged queries and scored on the other, and the reverse, so that every score is of a query the
weights never saw. The documents' vectors stay, so nothing of the corpus is encoded again.

Shape suffixes: F judged queries, C queries of a check, N documents, D dimensions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from whet.config import TuneConfig
from whet.errors import DataError
from whet.feedback.adapt import (
    MATRIX_STEPS,
    Weights,
    blend,
    changed,
    encoder_steps,
    judged_losses,
    put,
    train_encoder,
    train_matrix,
)
from whet.feedback.checks import MEASURE, Check, feedback_check
from whet.feedback.lessons import Lessons, Pool, pool_of
from whet.mine.search import search
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.types import Embeddings

FEWEST = 5  # judged queries with a relevant document: below, nothing can be held out
ENCODER_FROM = 10  # such queries: below, only the matrix is tried
SHARES = (1.0, 0.75, 0.5, 0.25)  # of the change
GUARD_MAY_LOSE = 0.005  # nDCG@10 on the guard set
LISTS = 20  # queries shown side by side
WHAT = {"matrix": "a matrix on the query vectors", "encoder": "the encoder of queries"}

Told = Callable[[str, int, int], None]  # phase, done, total


@dataclass(frozen=True)
class Score:
    """A measure of each query, before and after, float64 [C]."""

    before_C: np.ndarray
    after_C: np.ndarray
    measure: str = MEASURE

    @property
    def gain(self) -> float:
        """The mean change."""
        return float((self.after_C - self.before_C).mean())

    @property
    def error(self) -> float:
        """The standard error of the mean change."""
        return float((self.after_C - self.before_C).std() / max(1, len(self.after_C)) ** 0.5)

    def told(self) -> dict[str, float | int | str]:
        """As numbers for a page."""
        before, after = float(self.before_C.mean()), float(self.after_C.mean())
        return {
            "queries": len(self.after_C),
            "measure": self.measure,
            "before": before,
            "after": after,
        }


@dataclass(frozen=True)
class Tuned:
    """A tuned model, how it was made, and how it does."""

    model: Towers
    method: str
    share: float
    why: str
    held_out: Score
    losses: Score
    guard: Score
    seconds: float
    lists: list[dict] = field(default_factory=list)

    @property
    def better(self) -> bool:
        """Whether judged queries it did not learn from are answered better by more than chance
        often does, and the guard set is not lost.

        The losses decide. nDCG must only not fall: what a list of ten shows was chosen by the old
        model, so what the new one finds beyond it was never judged and counts as wrong.
        """
        surer = self.losses.gain < -self.losses.error
        return surer and self.held_out.gain >= 0 and self.guard.gain >= -GUARD_MAY_LOSE

    def verdict(self) -> str:
        """What a person needs to know to decide."""
        told = self.held_out.told()
        change = f"{MEASURE} {told['before']:.3f} before and {told['after']:.3f} after tuning"
        asked = f"On {told['queries']} judged queries, each left out when it was scored: {change}. "
        kept = f"On {len(self.guard.after_C)} other queries: {self.guard.gain:+.3f}. "
        return asked + kept + self.advice()

    def advice(self) -> str:
        """What the numbers come to."""
        if self.better:
            return "Better: ship it."
        if self.guard.gain < -GUARD_MAY_LOSE:
            return "It forgets too much of what it knew: better not."
        return "No gain that is more than chance: better judge more queries first."


def check_enough(usable: int) -> None:
    """DataError if so few judged queries with an answer cannot be tuned on."""
    if usable < FEWEST:
        raise DataError(
            f"{usable} judged queries have a relevant document, and tuning needs {FEWEST}: below, "
            "there is nothing to tell whether it helped. Mark some more."
        )


def tune(
    model: Encoder | Towers,
    lessons: Lessons,
    corpus: Embeddings,
    guard: Check,
    *,
    config: TuneConfig,
    told: Told,
) -> Tuned:
    """Learn from the lessons; the model given stays as it is.

    `corpus` are its vectors of the documents. Raises DataError if too little was judged.
    """
    start = time.monotonic()
    usable = int(lessons.gains.sum())
    check_enough(usable)
    work = _Work(model.side("query"), lessons, corpus, config.seed, told)
    methods = _methods(config.method, usable)
    trials = {method: work.cross_fit(method) for method in methods}
    method, share = _best(trials)
    before, after = work.trained(method, np.arange(len(lessons)))
    share, query, guarded = _within_guard(work, guard, before, after, share)
    chosen = trials[method][share]  # what is told is of the share that is kept
    return Tuned(
        model=Towers(query, model.side("document")),
        method=method,
        share=share,
        why=_why(method, share, trials, usable),
        held_out=Score(work.before_C, chosen.ndcg_C),
        losses=Score(work.loss_F, chosen.loss_F, "loss"),
        guard=guarded,
        seconds=time.monotonic() - start,
        lists=_lists(work, query, corpus),
    )


@dataclass(frozen=True)
class Trial:
    """What weights made of the queries they never saw: nDCG@10 [C], losses [F]."""

    ndcg_C: np.ndarray
    loss_F: np.ndarray


Trials = dict[str, dict[float, Trial]]  # by method and share


class _Work:
    """What all ways of training share."""

    def __init__(
        self, encoder: Encoder, lessons: Lessons, corpus: Embeddings, seed: int, told: Told
    ) -> None:
        self.encoder, self.lessons, self.corpus = encoder, lessons, corpus
        self.seed, self.told = seed, told
        told("Reading what was judged", 0, 1)
        self.query_FD = encoder.encode(lessons.queries, kind="query")
        self.pool: Pool = pool_of(lessons, self.query_FD, corpus, seed=seed)
        self.gains_C = np.flatnonzero(lessons.gains)
        self.check = feedback_check(lessons, corpus)
        self.before_C = self.check.scores(self.query_FD[self.gains_C])
        self.loss_F = _losses(self.query_FD, self.pool)

    def trained(self, method: str, at: np.ndarray, title: str = "") -> tuple[Weights, Weights]:
        """The weights before and after training on some of the queries."""
        total = MATRIX_STEPS if method == "matrix" else encoder_steps(len(at))
        title = title or f"Training {WHAT[method]} on all queries"
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            self.told(title, done, total)

        if method == "matrix":
            return train_matrix(torch.from_numpy(self.query_FD[at]), self.pool.take(at), told)
        queries = [self.lessons.queries[int(i)] for i in at]
        return train_encoder(self.encoder, queries, self.pool.take(at), seed=self.seed, told=told)

    def cross_fit(self, method: str) -> dict[float, Trial]:
        """For each share of the change, how every query does by weights that never saw it."""
        order = np.random.default_rng(self.seed).permutation(len(self.lessons))
        count, answered = len(self.lessons), len(self.gains_C)
        trials = {share: Trial(np.zeros(answered), np.zeros(count)) for share in SHARES}
        for half in (0, 1):
            learn, ask = np.sort(order[half::2]), np.sort(order[1 - half :: 2])
            title = f"Trying {WHAT[method]}, half {half + 1} of 2"
            before, after = self.trained(method, learn, title)
            asked_C, scored = np.isin(self.gains_C, ask), np.isin(ask, self.gains_C)
            chosen = self.lessons.take(ask)
            check = feedback_check(chosen, self.corpus)
            for share, trial in trials.items():
                query_AD = self.vectors(chosen.queries, blend(before, after, share))
                trial.loss_F[ask] = _losses(query_AD, self.pool.take(ask))
                if scored.any():
                    trial.ndcg_C[asked_C] = check.scores(query_AD[scored])
        return trials

    def vectors(self, texts: Sequence[str], weights: Weights) -> np.ndarray:
        """Vectors of queries by other weights; the encoder has its own again afterwards."""
        if "matrix" in weights:
            plain = self.encoder.encode(texts, kind="query")
            moved = plain @ weights["matrix"].numpy().T
            return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6)
        own = dict(self.encoder.named_parameters())
        before = {name: own[name].detach().clone() for name in weights}
        put(self.encoder, weights)
        try:
            return self.encoder.encode(texts, kind="query")
        finally:
            put(self.encoder, before)


def _methods(asked: str, usable: int) -> list[str]:
    if asked != "auto":
        return [asked]
    return ["matrix"] if usable < ENCODER_FROM else ["matrix", "encoder"]


def _losses(query_FD: np.ndarray, pool: Pool) -> np.ndarray:
    with torch.inference_mode():
        return judged_losses(torch.from_numpy(query_FD), pool).numpy().astype(np.float64)


def _best(trials: Trials) -> tuple[str, float]:
    """The way and share of the lowest mean loss; of equals the first way and the smaller share."""
    means = [
        (round(float(trial.loss_F.mean()), 4), number, share, method)
        for number, (method, shares) in enumerate(trials.items())
        for share, trial in shares.items()
    ]
    _, _, share, method = min(means)
    return method, share


def _within_guard(
    work: _Work, guard: Check, before: Weights, after: Weights, share: float
) -> tuple[float, Encoder, Score]:
    """The greatest share up to the one wished for that the guard set bears, else the smallest."""
    work.told("Looking whether it forgets", 0, 1)
    known_C = guard.scores(work.encoder.encode(guard.texts, kind="query"))
    smaller = [one for one in SHARES if one <= share]
    for one in smaller:
        query = changed(work.encoder, blend(before, after, one))
        score = Score(known_C, guard.scores(query.encode(guard.texts, kind="query")))
        if score.gain >= -GUARD_MAY_LOSE or one == smaller[-1]:
            break
    work.told("Looking whether it forgets", 1, 1)
    return one, query, score


def _why(method: str, share: float, trials: Trials, usable: int) -> str:
    if len(trials) > 1:
        best = {way: min(t.loss_F.mean() for t in by.values()) for way, by in trials.items()}
        said = ", ".join(f"{WHAT[way]} {loss:.3f}" for way, loss in best.items())
        reason = f"of what was tried it had the lowest loss on queries left out ({said})"
    elif usable < ENCODER_FROM:
        reason = f"{usable} judged queries are too few to move more"
    else:
        reason = "it was asked for"
    kept = (
        ""
        if share == 1
        else f" {share:.0%} of the change is kept; more did worse there or on the guard set."
    )
    what = f"{WHAT[method][0].upper()}{WHAT[method][1:]}"
    return f"{what} was trained: {reason}.{kept} The corpus was not encoded again."


def _lists(work: _Work, query: Encoder, corpus: Embeddings) -> list[dict]:
    """The first ten documents before and after, for the queries that changed most first."""
    texts = work.lessons.queries
    k = min(10, len(corpus))
    old = search(work.query_FD, corpus, k)[1]
    new = search(query.encode(texts, kind="query"), corpus, k)[1]
    moved = [int((a != b).sum()) for a, b in zip(old, new, strict=True)]
    order = sorted(range(len(texts)), key=lambda i: -moved[i])[:LISTS]
    ids = corpus.ids
    return [
        {
            "query": texts[i],
            "relevant": [ids[int(row)] for row in work.lessons.relevant[i]],
            "before": [ids[int(row)] for row in old[i]],
            "after": [ids[int(row)] for row in new[i]],
        }
        for i in order
    ]
