"""How much words count beside the vectors of what comes back: the dev part decides that, too.

Each weight of a small grid searches all documents for the dev queries. The best one counts if it is
better than vectors alone, by a test that corrects for its being the best of several: of a hundred
models that words do not help at most five get a weight. The model was chosen by the same queries,
which flatters its vectors and so speaks against words. Of several data sets each is guarded, as by
the choice of the model.

Where the base model's own searches count words, the weight that they have stands in the place of
vectors alone, which is then one of those that are tried: it stays unless another is surely better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whet.errors import EnvironmentRefused
from whet.evaluation.comparison import differences, p_equation
from whet.evaluation.judge import Evaluation
from whet.evaluation.lexical import Documents, check_installed, corpus_language
from whet.evaluation.lexical.languages import stems
from whet.evaluation.lexical.weight import CAREFUL, USUAL
from whet.evaluation.selection.choice import changes_of_sets
from whet.evaluation.selection.small_search import mean
from whet.evaluation.significance import chance_of_gain
from whet.model.parts.words import WordsBeside
from whet.processes.world import gathered

WEIGHTS = (CAREFUL, 0.2, USUAL, 0.5)
ALONE = "The vectors are what they were, and words=0 searches by them alone."
LEVEL = 0.05  # the chance that words which help nothing have to count
MOST_S = 30.0  # that words may take with select.words=auto
# What one core took on corpora of 10,000 to 60,000 documents; it is to decide the same everywhere.
COUNTED_S, SCORED_S = 1.5e-4, 4e-8  # a document, and a document for a query


@dataclass(frozen=True)
class WordsChoice:
    """What dev says: its mean by vectors alone and with each weight, and what of the best one
    beside `own`, the weight of the base model's searches (0: vectors alone).
    """

    measure: str
    queries: int
    language: str
    vectors: float
    dev: Mapping[float, float]  # by weight
    best: float
    p_value: float
    fell: str = ""  # of several data sets the one that the best weight hurts
    own: float = 0.0

    @property
    def chosen(self) -> bool:
        """Whether the best weight counts, and not that of the base model."""
        return self.p_value <= LEVEL and not self.fell

    @property
    def words(self) -> WordsBeside:
        """What counts in the searches of what comes back, and the language."""
        return WordsBeside(self.best if self.chosen else self.own, self.language)

    @property
    def shown(self) -> WordsBeside:
        """What that model is judged with: what counts, or else the best weight, that one may see
        what it comes to; of a base model that counts words its own.
        """
        return WordsBeside(self.words.weight or self.own or self.best, self.language)

    @property
    def of_base(self) -> WordsBeside:
        """What the base model is judged with: its own weight, where it has one."""
        return WordsBeside(self.own, self.language) if self.own else self.shown

    @property
    def heading(self) -> str:
        """Over the figures with words of both models."""
        base, shown = self.of_base.weight, self.shown.weight
        weights = f"weight {base:g}" if base == shown else f"weights {base:g} and {shown:g}"
        return f"vectors and words ({weights})"

    def sentence(self) -> str:
        """What dev says, for people."""
        if self.own:
            return self._beside_own()
        numbers = (
            f"{self.measure} {self.dev[self.best]:.4f} on {self.queries:,} dev queries, "
            f"{self.vectors:.4f} by vectors alone"
        )
        if self.chosen:
            return f"{_count(self.best)}: {numbers} ({p_equation(self.p_value)}). {ALONE}"
        return (
            "Words in common (BM25) do not count beside the vectors: with their best weight, "
            f"{self.best:g}, {numbers}: {self._doubt(self.dev[self.best] - self.vectors)}."
        )

    def _beside_own(self) -> str:
        """The same where the base model's searches count words."""
        best = self.dev[self.best] if self.best else self.vectors
        tried = f"with {self.best:g}" if self.best else "by vectors alone"
        numbers = (
            f"{self.measure} {best:.4f} {tried} on {self.queries:,} dev queries, "
            f"{self.dev[self.own]:.4f} with the base model's weight of {self.own:g}"
        )
        if not self.chosen:
            doubt = self._doubt(best - self.dev[self.own])
            return f"{_count(self.own)}, as with the base model: {numbers}: {doubt}. {ALONE}"
        sure = f"{numbers} ({p_equation(self.p_value)})"
        if not self.best:
            return f"Words in common (BM25) do not count beside the vectors any more: {sure}."
        return f"{_count(self.best)}: {sure}. {ALONE}"

    def _doubt(self, gain: float) -> str:
        """Why the best weight is not chosen."""
        if self.fell:
            return f"{self.fell} loses by it"
        likely = "a loss" if gain <= 0 else "may be chance"
        return f"{likely}, {p_equation(self.p_value)}"

    def record(self, judged: Mapping[str, tuple[Evaluation, Evaluation]]) -> dict[str, Any]:
        """Plain values; `judged` are the models' searches by vectors alone, and with words."""
        values = {
            name: [next(iter(one.scores.means.values())) for one in both]
            for name, both in judged.items()
        }
        return {
            "weight": self.words.weight,
            "own": self.own,
            "heading": self.heading,
            "language": self.language,
            "sentence": self.sentence(),
            "measure": self.measure,
            "vectors": self.vectors,
            "tried": [{"weight": weight, "dev": dev} for weight, dev in self.dev.items()],
            "best": self.best,
            "p_value": self.p_value,
            "level": LEVEL,
            "judged": values,
        }


def choose_words(
    alone: Mapping[str, float],
    each: Mapping[float, Mapping[str, float]],
    *,
    measure: str,
    language: str,
    max_drop: float,
    several: bool = False,
    own: float = 0.0,
) -> WordsChoice:
    """Choose by the dev queries' scores by vectors alone and, by weight, with words; `own`, one of
    those weights, is that of the base model's searches. With `several` data sets all are
    `balanced`, and none may surely lose more than `max_drop`.
    """
    others = {0.0: alone, **each}
    before = others.pop(own)
    gains = {weight: differences(before, scores) for weight, scores in others.items()}
    best = max(gains, key=lambda weight: (round(mean(gains[weight]), 9), -weight))
    family = [np.fromiter(gain.values(), np.float64) for gain in gains.values()]
    of_best = np.fromiter(gains[best].values(), np.float64)
    return WordsChoice(
        measure,
        len(alone),
        language,
        mean(alone),
        {weight: mean(scores) for weight, scores in each.items()},
        best,
        chance_of_gain(of_best, family),
        changes_of_sets(gains[best], max_drop)[1] if several else "",
        own,
    )


def _count(weight: float) -> str:
    return (
        f"Words in common (BM25) count {weight:g} beside the vectors where Whet searches with "
        "model/"
    )


def words_table(record: Mapping[str, Any]) -> str:
    """The rows of `WordsChoice.record` for the terminal: both models by vectors alone, and with
    words.

    >>> judged = {"base": [0.5, 0.625], "tuned": [0.75, 0.8125]}
    >>> heading = "vectors and words (weight 0.3)"
    >>> print(words_table({"measure": "RR@10", "heading": heading, "judged": judged}))
    RR@10  vectors  vectors and words (weight 0.3)
    base    0.5000                          0.6250
    tuned   0.7500                          0.8125
    """
    heads = ("vectors", record["heading"])
    width = max(map(len, (record["measure"], *record["judged"])))
    lines = ["  ".join([f"{record['measure']:<{width}}", *heads])]
    for name, values in record["judged"].items():
        cells = [f"{value:>{len(head)}.4f}" for value, head in zip(values, heads, strict=True)]
        lines.append("  ".join([f"{name:<{width}}", *cells]))
    return "\n".join(lines)


def seconds_of_words(documents: int, dev: int, judged: int) -> float:
    """About how long words take where so many documents are searched for so many queries: those of
    dev with each weight, and those that both models are judged by.

    >>> round(seconds_of_words(10_000, dev=500, judged=1000), 1)
    3.1
    """
    return documents * (COUNTED_S + SCORED_S * (len(WEIGHTS) * dev + 2 * judged))


def language_of_words(
    corpora: Sequence[Documents], known: str | None = None
) -> tuple[str | None, str]:
    """The language in which the words of all corpora can be counted, by default their own, and an
    empty text; else None and why not. Every process of the job calls it, and all get the same.
    """
    languages, refused = set[str](), ""
    try:
        check_installed()
        languages = {known or corpus_language(corpus) for corpus in corpora}
        for language in languages:
            stems(["words"], language)
    except EnvironmentRefused as error:
        refused = str(error)
    refused = next((why for why in gathered(refused) if why), "")
    if not refused and len(languages) > 1:
        refused = f"The data sets are in several languages ({', '.join(sorted(languages))})."
    return (None, refused) if refused else (languages.pop(), "")
