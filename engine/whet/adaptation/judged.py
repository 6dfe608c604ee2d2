"""Judged queries decide, where there are enough of them: a matrix learned from them is kept if
queries that it did not learn from are answered no worse than without it.

Shape suffixes: C judged queries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from whet.config import EncodeConfig, TuneConfig
from whet.data.load import Dataset
from whet.data.readers.passages import with_all_passages
from whet.evaluation.lexical import Words
from whet.evaluation.significance import randomisation_test
from whet.feedback.learn.checks import MEASURE, feedback_check, guard_check
from whet.feedback.learn.lessons import Lessons
from whet.feedback.learn.trials import GUARD_MAY_LOSE
from whet.feedback.learn.tune import tune
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.progress import ReportProgress
from whet.types import Embeddings, Qrels

ENOUGH = 25  # judged queries: fewer prove nothing
MOST = 300  # judged queries that are learned from: with as many a fit learns more than a matrix


@dataclass(frozen=True)
class Proof:
    """nDCG@10 of each judged query, before and after, float64 [C], and whose split they are."""

    split: str
    before_C: np.ndarray
    after_C: np.ndarray

    def summary(self) -> dict[str, float | int | str]:
        """As numbers for a page."""
        change_C = self.after_C - self.before_C
        return {
            "split": self.split,
            "queries": len(change_C),
            "measure": MEASURE,
            "before": float(self.before_C.mean()),
            "after": float(self.after_C.mean()),
            "p_value": randomisation_test(change_C),
        }


@dataclass(frozen=True)
class Decided:
    """What came of the judged queries: the model, how it does on them, and why it is that one."""

    model: Towers
    proof: Proof
    learned: bool  # whether it is the one that learned from them
    why: str


def judged_split(data: Dataset, train_split: str) -> tuple[str, Qrels] | None:
    """The split whose judgments decide: the one to learn from, else the first with as many; None
    where no split has 25 queries with a relevant document.
    """
    names = sorted(data.splits, key=lambda name: name != train_split)
    for name in names:
        relevant = data.splits[name].relevant()
        if len(relevant.query_rows) >= ENOUGH:
            return name, relevant
    return None


def decided(
    data: Dataset,
    judged: tuple[str, Qrels],
    base: Encoder | Towers,
    free: Towers,
    corpus: Embeddings,
    *,
    words: Words,
    encode: EncodeConfig,
    seed: int,
    report_progress: ReportProgress,
) -> Decided:
    """The better of two models on judged queries: `free`, which knows no judgment, and one whose
    matrix goes on from it and learned from them, each query scored by a matrix that did not learn
    from it.

    `free.words` says whether words count. Where `free` does worse than the base it was made from,
    and the other too, the base comes back.
    """
    split, relevant = judged
    lessons = lessons_of_qrels(data, relevant, seed=seed)
    counted = words if free.words else None
    config = TuneConfig(method="matrix", words=bool(free.words), seed=seed)
    unjudged = replace(data, splits={})  # its other splits are for judging, and guard nothing
    guard = guard_check(
        unjudged, corpus, base, other=None, avoid=set(), encode=encode, words=counted
    )
    tuned = tune(
        free, lessons, corpus, guard, words=counted, config=config, report_progress=report_progress
    )
    check = feedback_check(lessons, corpus, words)
    weight = base.words if free.words else 0.0
    outcome = OnJudged(
        split,
        before_C=check.scores(base.side("query").encode(check.texts, kind="query"), weight),
        free_C=check.scores(free.query.encode(check.texts, kind="query"), free.words),
        learned_C=tuned.held_out.after_C,
        bearable=tuned.guard.gain >= -GUARD_MAY_LOSE,
    )
    kept, why = kept_of(outcome)
    same = Towers(base.side("query"), base.side("document"), weight, words.language)
    model = {"learned": tuned.model, "free": free, "base": same}[kept]
    proof = Proof(split, outcome.before_C, outcome.scores(kept))
    return Decided(model, proof, kept == "learned", why)


@dataclass(frozen=True)
class OnJudged:
    """nDCG@10 of each judged query by each model, float64 [C], and whether the one that learned
    from them forgets no more than it may.
    """

    split: str
    before_C: np.ndarray
    free_C: np.ndarray
    learned_C: np.ndarray
    bearable: bool

    def scores(self, name: str) -> np.ndarray:
        """Those of a model: base, free or learned."""
        return {"base": self.before_C, "free": self.free_C, "learned": self.learned_C}[name]


def kept_of(outcome: OnJudged) -> tuple[str, str]:
    """Which model comes back (learned, free or base), and the sentence that says why."""
    base, free, learned = (
        float(outcome.scores(name).mean()) for name in ("base", "free", "learned")
    )
    told = (
        f"on {len(outcome.before_C):,} judged queries of {outcome.split}, {MEASURE} is {base:.3f} "
        f"as it was, {free:.3f} without learning from them, and {learned:.3f} with a matrix "
        "learned from them, each scored by one that did not learn from it"
    )
    if outcome.bearable and learned >= max(free, base):
        return "learned", f"{told}: the learned one is kept"
    if free >= base:
        forgets = "" if outcome.bearable else " (it forgets too much of other queries)"
        return "free", f"{told}: the learned one is not kept{forgets}"
    return "base", f"{told}: it stays as it was"


def lessons_of_qrels(data: Dataset, relevant: Qrels, *, seed: int) -> Lessons:
    """Judgments of a split as what is learned from: at most 300 queries, drawn by seed. Copies of
    a relevant text are relevant, and so are all passages of a relevant document.
    """
    rows_Q = relevant.query_rows
    drawn = np.random.default_rng(seed).permutation(len(rows_Q))[:MOST]
    rows_Q = rows_Q[np.sort(drawn)]
    whole = with_all_passages(relevant, data.home_N)
    group_of_N = np.asarray(data.corpus.group_of_N())
    by_group = np.argsort(group_of_N, kind="stable")
    sorted_N = group_of_N[by_group]
    good: list[np.ndarray] = []
    for row in rows_Q:
        groups = np.unique(group_of_N[whole.doc_rows_M[whole.query_rows_M == row]])
        starts, ends = (np.searchsorted(sorted_N, groups, side) for side in ("left", "right"))
        spans = [by_group[a:b] for a, b in zip(starts, ends, strict=True)]
        good.append(np.sort(np.concatenate(spans)).astype(np.int64))
    empty = [np.empty(0, np.int64) for _ in rows_Q]
    pairs = [np.empty((0, 2), np.int64) for _ in rows_Q]
    return Lessons(data.queries.texts(rows_Q), good, empty, pairs, data.home_N)
