"""What of a language model's answers is a query, or a verdict; the rest is dropped, by reason."""

from __future__ import annotations

import re

from whet.adaptation.log import MOST_WORDS
from whet.data.text import WORD, normalise

LONGEST = 300  # characters of a query: scripts without spaces have long "words"
COPIED = 8  # words in a row of the document: a query of so many, all its own, is a copy
THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
LABEL = re.compile(r"^(?:search )?quer(?:y|ies)\s*:\s*", re.IGNORECASE)
BULLET = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+")
QUOTES = "\"'`“”„«»"
REFUSAL = re.compile(
    r"^(?:i'?m sorry|i am sorry|sorry, (?:but )?i)\b|\bas an ai\b|"
    r"\bi(?: cannot| can'?t| can not|'m unable to| am unable to) "
    r"(?:assist|help with|comply|provide|generate|create|fulfil|write a|answer)",
    re.IGNORECASE,
)
NO_ANSWER, EMPTY, TOO_LONG = "without an answer that can be read", "empty", "too long for a query"
REFUSED, COPY = "refused to write", "copied from the document"


def query_of(answer: str | None, document: str) -> tuple[str | None, str]:
    """The query that an answer is, or None and why it is none. `answer` None: none could be read.

    >>> query_of('Query: "how to bleed a brake"', "Open the valve.")
    ('how to bleed a brake', '')
    >>> query_of("I'm sorry, but I cannot help.", "Open the valve.")
    (None, 'refused to write')
    """
    if answer is None:
        return None, NO_ANSWER
    query = _first_line(THOUGHTS.sub("", answer))
    words = sum(1 for _ in WORD.finditer(query))
    if not any(character.isalnum() for character in query):
        return None, EMPTY
    if REFUSAL.search(query.replace("\u2019", "'")):
        return None, REFUSED
    if words > MOST_WORDS or len(query) > LONGEST:
        return None, TOO_LONG
    bare, own = normalise(query), normalise(document)
    if bare == own or (words >= COPIED and bare in own):
        return None, COPY
    return query, ""


def verdict_of(answer: str | None) -> bool | None:
    """What a judge says: True, False, or None for what is neither.

    >>> verdict_of("Yes."), verdict_of("No, it is about pumps."), verdict_of("Perhaps")
    (True, False, None)
    """
    words = re.findall(r"[a-z]+", THOUGHTS.sub("", answer or "").lower())
    return {"yes": True, "no": False}.get(words[0]) if words else None


def _first_line(answer: str) -> str:
    """The first line that is more than an announcement, without marks around it."""
    lines = [line.strip() for line in answer.splitlines() if line.strip(" `\t")]
    if len(lines) > 1 and lines[0].endswith(":"):
        lines = lines[1:]
    line = LABEL.sub("", BULLET.sub("", lines[0])) if lines else ""
    return " ".join(line.strip().strip(QUOTES).split())
