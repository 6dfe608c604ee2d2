"""How rare the words of a text are among the documents, and how many are function words."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from whet.config import UNSTEMMED
from whet.evaluation.lexical import Words
from whet.evaluation.lexical.languages import word_ids

# What a sentence of English cannot do without: the words that say how others belong together.
ENGLISH = frozenset(
    "a an the this that these those it its i you he she we they his her their our and or but not "
    "no if than as of in on at by to from for with into about over under between after before is "
    "are was were be been being has have had do does did can could may will would should which "
    "who what when where how there".split()
)


def idf_of(texts: Sequence[str], words: Words) -> dict[str, float]:
    """log(1 + N / n) of each word of the texts that n of the N documents of `words` have, 0 where
    none has it. `words` count words as they stand: their language is UNSTEMMED.
    """
    names = list(word_ids(texts, UNSTEMMED)[1])
    pairs = zip(names, words.frequencies(names).tolist(), strict=True)
    return {name: log(1 + words.documents / count) if count else 0.0 for name, count in pairs}


def words_of(text: str) -> list[str]:
    """The words of a text in order, without capitals.

    >>> words_of("Turn the valve, then wait.")
    ['turn', 'the', 'valve', 'then', 'wait']
    """
    ids, numbers = word_ids([text], UNSTEMMED)
    names = list(numbers)
    return [names[number] for number in ids[0]]


def function_share(texts: Sequence[str], language: str) -> float:
    """The share of function words among all words of the texts, 0 to 1.

    In English by the list above, in other languages by the stop words that BM25 leaves out.

    >>> round(function_share(["The pump is on the left of the tank.", "pump tank"], "english"), 2)
    0.55
    """
    ids, numbers = word_ids(texts, UNSTEMMED)
    total = sum(map(len, ids))
    if not total:
        return 0.0
    if language == "english":
        of_list = {number for word, number in numbers.items() if word in ENGLISH}
        return sum(number in of_list for row in ids for number in row) / total
    return 1 - sum(map(len, word_ids(texts, language)[0])) / total
