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

from whet.evaluation.lexical import Words
from whet.evaluation.lexical.languages import COMMON, STOP_WORDS
from whet.evaluation.lexical.weight import CAREFUL, LEAST_KNOWN, USUAL, known_share
from whet.evaluation.lexical.word_counts import function_share

PROSE = 0.25  # of the documents' words are function words: below, they are lists, code, commands
ENOUGH_QUERIES = 300  # of a log: fewer say nothing without judgments


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


def words_gate(queries: Sequence[str], words: Words) -> Gate:
    """Whether people ask in the words of the documents, by a log of queries (`known_share`)."""
    known = known_share(queries, words)
    if known is None and words.language not in COMMON:
        why = (
            "the language of the documents is not known well enough to say whether people ask in "
            f"their words, so words count {CAREFUL:g} beside a cosine"
        )
        return Gate("words", None, LEAST_KNOWN, False, why)
    if known is None:
        why = f"without a log words count as they usually do, {USUAL:g} beside a cosine"
        return Gate("words", None, LEAST_KNOWN, True, why)
    is_open = known >= LEAST_KNOWN
    weight = USUAL if is_open else CAREFUL
    why = f"{known:.0%} of the words of the log are in the documents, " + (
        f"so words count {weight:g} beside a cosine"
        if is_open
        else f"and below {LEAST_KNOWN:.0%} words mislead: they count {weight:g} beside a cosine"
    )
    return Gate("words", known, LEAST_KNOWN, is_open, why)


def weight_of_words(gate: Gate) -> float:
    """How much words count beside a cosine, as `words_gate` has it."""
    return USUAL if gate.open else CAREFUL
