"""What is looked at before anything is trained or words are counted: each gate has a figure, and a
sentence that says what follows from it.

In a study of 176 models no signal without labels could tell good recipes from bad ones once they
were trained (rank correlations with the true gain of -0.24 to +0.21). So these are fixed rules, and
what they let through is a fixed recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from whet.adaptation.counts import WordCounts, function_share
from whet.config import UNSTEMMED
from whet.evaluation.lexical.languages import STOP_WORDS

PROSE = 0.25  # of the documents' words are function words: below, they are lists, code, commands
ENOUGH_QUERIES = 300  # of a log: fewer say nothing without judgments
KNOWN_WORDS = 0.70  # of the words of the log are in the corpus: below, words find little
USUAL_WEIGHT, LOW_WEIGHT = 0.3, 0.1  # of words beside a cosine


@dataclass(frozen=True)
class Gate:
    """What was looked at, what it was, what it had to be, and what follows."""

    name: str
    figure: float | None  # None: it could not be told
    least: float
    open: bool
    why: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def prose_gate(texts: Sequence[str], language: str) -> Gate:
    """Whether documents are prose, by a sample of them in this language (one of LANGUAGES).

    Queries made from a document's own words resemble what people ask where documents are prose, and
    mislead where they are commands, code or lists.
    """
    if language not in STOP_WORDS:
        why = (
            "there is no list of function words for the language of the documents, so whether they "
            "are prose is not known, and no query is made from them"
        )
        return Gate("prose", None, PROSE, False, why)
    share = function_share(texts, language)
    if share >= PROSE:
        why = f"{share:.0%} of the documents' words are function words ({language}): they are prose"
    else:
        why = (
            f"{share:.0%} of the documents' words are function words ({language}), and prose has "
            f"{PROSE:.0%}: queries made from such texts mislead a model"
        )
    return Gate("prose", share, PROSE, share >= PROSE, why)


def log_gate(queries: int) -> Gate:
    """Whether a log is long enough to learn from without judgments.

    >>> log_gate(299).open, log_gate(300).open
    (False, True)
    """
    if queries >= ENOUGH_QUERIES:
        why = f"the log has {queries:,} queries, and {ENOUGH_QUERIES} are enough to learn from"
    elif queries:
        why = (
            f"the log has {queries:,} queries, and fewer than {ENOUGH_QUERIES} say too little "
            "without judgments"
        )
    else:
        why = "there is no log of queries"
    return Gate("log", queries, ENOUGH_QUERIES, queries >= ENOUGH_QUERIES, why)


def words_gate(queries: Sequence[str], counts: WordCounts, language: str = "english") -> Gate:
    """Whether people ask in the words of the documents, by a log of their queries; `language` is
    the documents', one of LANGUAGES or "none".
    """
    known = counts.share_known(queries)
    if known is None and language == UNSTEMMED:
        why = (
            "there is no log, and the words of the documents' language cannot be counted by their "
            f"stems, so they count {LOW_WEIGHT:g} beside a cosine"
        )
        return Gate("words", None, KNOWN_WORDS, False, why)
    if known is None:
        why = f"without a log words count as they usually do, {USUAL_WEIGHT:g} beside a cosine"
        return Gate("words", None, KNOWN_WORDS, True, why)
    is_open = known >= KNOWN_WORDS
    weight = USUAL_WEIGHT if is_open else LOW_WEIGHT
    why = f"{known:.0%} of the words of the log are in the documents, " + (
        f"so words count {weight:g} beside a cosine"
        if is_open
        else f"and below {KNOWN_WORDS:.0%} words mislead: they count {weight:g} beside a cosine"
    )
    return Gate("words", known, KNOWN_WORDS, is_open, why)


def weight_of_words(gate: Gate) -> float:
    """How much words count beside a cosine, as `words_gate` has it."""
    return USUAL_WEIGHT if gate.open else LOW_WEIGHT
