"""The choice: of the best moment, the whole of the change or a smaller share of it; else the base.

Each is tried in a fixed order until one passes. To pass it must be better on the dev queries than
the base model, by a test whose levels add up to 0.15 over all that is tried: so of a hundred fits
whose training helped nothing at least 85 give the base back. And on the guard set it may lose no
more than `guard.max_drop`, unless chance explains the loss. Of several data sets the mean over them
is to be better, and each is guarded in the same way.

A fallback procedure (Wiens, Pharmaceutical Statistics 2, 2003) that stops at the first success; the
test of the first corrects for its moment being the best of several (chance_of_gain).

Shape suffix: Q dev queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from whet.evaluation.comparison import differences, p_equation
from whet.evaluation.measures import by_set
from whet.evaluation.selection.moments import Keeper, Moment, best_of
from whet.evaluation.selection.small_search import mean
from whet.evaluation.selection.weights import mixed, put_weights, trained_weights
from whet.evaluation.significance import chance_of_gain
from whet.model.encoder import Encoder, weights_unchanged
from whet.progress import say

# Shares of the change in the order they are tried, and the chance each has to pass in error.
LEVELS = {1.0: 0.1, 0.5: 0.03, 0.25: 0.02}
GUARD_LEVEL = 0.05  # a loss on the guard set that is likelier than this may be chance

JudgeWhole = Callable[[Encoder], Mapping[str, float]]


@dataclass(frozen=True)
class Candidate:
    """One candidate: what it did, and whether it may come back (`why` is empty then).

    `dev` is its mean on the dev queries, in the whole corpus or, where `searched` says so, the
    pool; `change` is from the base on the same.
    """

    step: int
    share: float
    searched: str
    dev: float
    change: float
    p_value: float
    level: float
    guard_change: float | None
    why: str = ""
    sets: dict[str, float] = field(default_factory=dict)  # the change on each of several data sets
    fell: str = ""  # the one of them that holds it back

    @property
    def of_sets(self) -> str:
        """The change on each of several data sets, in words."""
        each = ", ".join(f"{name} {change:+.4f}" for name, change in self.sets.items())
        return f", the mean of {each}" if each else ""

    @property
    def name(self) -> str:
        """What it is, in words."""
        if self.share == 1:
            return f"the model of step {self.step}"
        return f"share {self.share:g} of the change at step {self.step}"


@dataclass(frozen=True)
class Choice:
    """What was tried, in order; the last one comes back if it passed, else the base model does."""

    measure: str
    queries: int
    base: float  # mean on dev, in the whole corpus
    trials: list[Candidate] = field(default_factory=list)
    max_drop: float = 0.0

    @property
    def returned(self) -> Candidate | None:
        """The candidate that comes back; None: the base model."""
        return self.trials[-1] if self.trials and not self.trials[-1].why else None

    @property
    def name(self) -> str:
        """What comes back, in words."""
        return "the base model" if self.returned is None else self.returned.name

    def sentence(self) -> str:
        """What comes back, and why, in a few plain sentences."""
        first, won = self.trials[0], self.returned
        if won is None:
            others = "" if len(self.trials) == 1 else ", nor are smaller shares of its change"
            where = "" if not self.guarded else f" {self._switch()}"
            return (
                f"The base model comes back: {first.name} is not surely better ({first.why})"
                f"{others}. model/ equals the base model; the tuned one lies in rejected/.{where}"
            )
        earlier = f" In full it does not: {first.why}." if won is not first else ""
        return (
            f"What comes back is {won.name}: {self.measure} {won.dev:.4f} on {self.queries:,} dev "
            f"queries, {self.base:.4f} before ({p_equation(won.p_value)}){won.of_sets}.{earlier}"
        )

    @property
    def guarded(self) -> bool:
        """Whether it was the guard set alone that held the tuned model back."""
        first = self.trials[0]
        return bool(first.why) and first.p_value <= first.level

    def _switch(self) -> str:
        if self.trials[0].fell:
            return (
                "On the mean of the data sets it is better: guard.max_drop=1 lets it come back, "
                f"with what {self.trials[0].fell} loses."
            )
        return (
            "On your own queries it is better: if other data do not matter, guard.max_drop=1 lets "
            "it come back."
        )


def choose(
    keeper: Keeper,
    encoder: Encoder,
    base: Encoder,
    judge_whole: JudgeWhole,
    base_whole: Mapping[str, float],
    *,
    max_drop: float,
    several: bool = False,
) -> Choice:
    """Try the candidates; the encoder has the weights of the one that passed then, else those of
    the first.

    `judge_whole` scores the dev queries in the whole corpus, and `base_whole` are the base model's
    scores there. With `several` data sets all scores are `balanced`, and each set guards as well.
    Every process of the job calls it.
    """
    best = best_of(keeper.moments)
    start = trained_weights(base)
    end = keeper.weights_of(best, start)
    trials: list[Candidate] = []
    choosing = _Choosing(keeper, best, judge_whole, base_whole, max_drop=max_drop, several=several)
    for share, level in LEVELS.items():
        put_weights(encoder, mixed(start, end, share))
        with weights_unchanged():
            trials.append(choosing.trial(encoder, share, level))
        if not trials[-1].why:
            break
        say(f"Not {trials[-1].name}: {trials[-1].why}.")
    else:
        put_weights(encoder, end)
    return Choice(keeper.measure, len(base_whole), mean(base_whole), trials, max_drop)


@dataclass(frozen=True)
class _Choosing:
    keeper: Keeper
    best: Moment
    judge_whole: JudgeWhole
    base_whole: Mapping[str, float]
    max_drop: float
    several: bool

    def trial(self, encoder: Encoder, share: float, level: float) -> Candidate:
        """One candidate. The first is judged in the whole corpus, as without a choice; a smaller
        share only where guard and pool are not against it, since that encodes the corpus again.
        """
        whole = share == 1
        guard_change, why = self._guarded(encoder, whole)
        if not whole:
            pool = self.keeper.pool.judged(self.keeper.whole(encoder))
            change = mean(differences(self.keeper.base.dev, pool))
            why = why or ("no gain on the dev pool" if change <= 0 else "")
            if why:
                place = (self.best.step, share, "pool", mean(pool), change)
                return Candidate(*place, 1.0, level, guard_change, why)
        scores = self.judge_whole(encoder)
        gain = differences(self.base_whole, scores)
        p_value = chance_of_gain(_array(gain), self._family() if whole else ())
        if p_value > level:
            likely = "a loss" if mean(gain) <= 0 else "may be chance"
            why = (
                f"{self.keeper.measure} {mean(scores):.4f} on {len(scores):,} dev queries, "
                f"{mean(self.base_whole):.4f} before: {likely}, {p_equation(p_value)}"
            )
        sets, fell = changes_of_sets(gain, self.max_drop) if self.several else ({}, "")
        if fell and not why:
            why = (
                f"{self.keeper.measure} on the dev queries of {fell} fell by {-sets[fell]:.4f}, "
                f"over guard.max_drop={self.max_drop:g}"
            )
        place = (self.best.step, share, "corpus", mean(scores), mean(gain))
        return Candidate(*place, p_value, level, guard_change, why, sets, fell)

    def _guarded(self, encoder: Encoder, whole: bool) -> tuple[float | None, str]:
        """The change on the guard set, and why that forbids it, if it does."""
        guard = self.keeper.guard
        if guard is None:
            return None, ""
        scores = self.best.guard if whole else guard.judged(self.keeper.whole(encoder))
        gain = differences(self.keeper.base.guard, scores)
        drop = -mean(gain)
        if drop <= self.max_drop or chance_of_gain(-_array(gain)) > GUARD_LEVEL:
            return -drop, ""
        return -drop, (
            f"nDCG@10 on the guard set fell by {drop:.4f}, over guard.max_drop={self.max_drop:g}"
        )

    def _family(self) -> list[np.ndarray]:
        base = self.keeper.base.dev
        return [_array(differences(base, moment.dev)) for moment in self.keeper.moments]


def changes_of_sets(gain: Mapping[str, float], max_drop: float) -> tuple[dict[str, float], str]:
    """The change on each of several data sets, and the one that has lost most of those that surely
    lost more than they may; "" if none did.
    """
    each = by_set(gain)
    changes = {name: mean(own) for name, own in each.items()}
    for name in sorted(each, key=changes.__getitem__):
        lost = -changes[name] > max_drop
        if lost and chance_of_gain(-_array(each[name])) <= GUARD_LEVEL:
            return changes, name
    return changes, ""


def _array(gain: Mapping[str, float]) -> np.ndarray:
    return np.fromiter(gain.values(), np.float64)
