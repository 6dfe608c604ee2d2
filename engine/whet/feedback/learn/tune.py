"""From judgments to a model that is better at them, and the proof on queries it did not learn from.

What is trained is chosen by how much there is, and by trying (trials.py). The documents' vectors
stay, so nothing of the corpus is encoded again.

How much words in common count beside the vectors is one number: the one of least loss. It is
chosen first, and what is trained starts from it.

Shape suffixes: F judged queries, C queries of a check, N documents, D dimensions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whet.config import TuneConfig
from whet.errors import DataError
from whet.evaluation.lexical import Words
from whet.evaluation.lexical.hybrid import HybridSearch
from whet.feedback.learn.adapt import blend, changed
from whet.feedback.learn.checks import MEASURE, JudgedQueries
from whet.feedback.learn.lessons import Lessons
from whet.feedback.learn.trials import (
    ENCODER_FROM,
    GUARD_MAY_LOSE,
    SHARES,
    WHAT,
    Change,
    Trials,
    Work,
    best,
    methods_for,
)
from whet.mining.search import search
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.progress import ReportProgress
from whet.types import Embeddings

FEWEST = 5  # judged queries with a relevant document: below, nothing can be held out
LISTS = 20  # queries shown side by side


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

    def summary(self) -> dict[str, float | int | str]:
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
    lists: list[dict[str, Any]] = field(default_factory=list)

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
        summary = self.held_out.summary()
        change = f"{MEASURE} {summary['before']:.3f} before and {summary['after']:.3f} after tuning"
        asked = (
            f"On {summary['queries']} judged queries, each left out when it was scored: {change}. "
        )
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
    guard: JudgedQueries,
    *,
    words: Words | None,
    config: TuneConfig,
    report_progress: ReportProgress,
) -> Tuned:
    """Learn from the lessons; the model given stays as it is.

    `corpus` are its vectors of the documents, `words` their words, or None where words are not to
    count; where they are, `guard` has its own. Raises DataError if too little was judged,
    ConfigError for tune.method=words without words.
    """
    start = time.monotonic()
    usable = int(lessons.gains.sum())
    check_enough(usable)
    methods = methods_for(config.method, usable, words is not None)
    work = Work(
        model.side("query"),
        lessons,
        corpus,
        words,
        guard=guard,
        config=config,
        report_progress=report_progress,
        base_weight=model.words,
    )
    trials = {method: work.cross_fit(method) for method in methods}
    method, share = best(trials)
    changes = {method: work.trained(method, np.arange(len(lessons)))}
    if "words" in trials and work.weight:
        changes.setdefault("words", ({}, {}))
    kept = _within_guard(work, changes, share)
    chosen = trials[kept.method][kept.share]  # what is told is of the share that is kept
    return Tuned(
        model=_searching(kept.query, model, work),
        method=kept.method,
        share=kept.share,
        why=_why(kept.method, kept.share, trials, usable, work.weight),
        held_out=Score(work.before_C, chosen.ndcg_C),
        losses=Score(work.loss_F, chosen.loss_F, "loss"),
        guard=kept.guard,
        seconds=time.monotonic() - start,
        lists=_lists(work, kept.query, corpus),
    )


def _searching(query: Encoder, model: Encoder | Towers, work: Work) -> Towers:
    """The model that searches with what was learned; words count as they were counted here."""
    language = model.language if work.words is None else work.words.language
    return Towers(query, model.side("document"), work.weight, language)


@dataclass(frozen=True)
class _Kept:
    """What is kept of a change, and the guard set before and after it."""

    method: str
    share: float
    query: Encoder
    guard: Score


def _within_guard(work: Work, changes: dict[str, Change], share: float) -> _Kept:
    """The greatest share of the first change, up to the one wished for, that the guard set bears;
    else the other change, if there is one; else the smallest share.
    """
    work.report_progress("Looking whether it forgets", 0, 1)
    method, *others = changes
    wished = [(method, part) for part in SHARES if part <= share]
    if method == "words":
        wished = wished[:1]
    for name, part in [*wished, *((other, 1.0) for other in others)]:
        query = changed(work.encoder, blend(*changes[name], part))
        found_C = work.guard.scores(query.encode(work.guard.texts, kind="query"), work.weight)
        kept = _Kept(name, part, query, Score(work.known_C, found_C))
        if work.borne(found_C):
            break
    work.report_progress("Looking whether it forgets", 1, 1)
    return kept


def _why(method: str, share: float, trials: Trials, usable: int, weight: float) -> str:
    if len(trials) > 1:
        best = {way: min(t.loss_F.mean() for t in by.values()) for way, by in trials.items()}
        losses = ", ".join(f"{WHAT[way]} {loss:.3f}" for way, loss in best.items())
        reason = f"of what was tried it had the lowest loss on queries left out ({losses})"
        if method != min(best, key=lambda way: best[way]):
            reason = f"what had the lowest loss on queries left out ({losses}) forgets too much"
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
    counted = (
        f" Words in common (BM25) count {weight:g} beside a cosine: Whet's searches add them, "
        "sentence-transformers alone does not."
        if weight
        else ""
    )
    was = "was learned" if method == "words" else "was trained"
    return f"{what} {was}: {reason}.{kept}{counted} The corpus was not encoded again."


def _lists(work: Work, query: Encoder, corpus: Embeddings) -> list[dict[str, Any]]:
    """The first ten documents before and after, for the queries that changed most first."""
    texts = work.lessons.queries
    k = min(10, len(corpus))

    def found(query_FD: np.ndarray, weight: float) -> np.ndarray:
        if work.words is None or not weight:
            return search(query_FD, corpus, k)[1]
        return HybridSearch(texts, work.words, weight)(query_FD, corpus.vectors, k)[1]

    old = found(work.query_FD, work.base_weight)
    new = found(query.encode(texts, kind="query"), work.weight)
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
