"""Which words the documents have, and in how many of them each stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from whet.config import UNSTEMMED
from whet.evaluation.lexical.languages import word_ids

# What a sentence of English cannot do without: the words that say how others belong together.
ENGLISH = frozenset(
    "a an the this that these those it its i you he she we they his her their our and or but not "
    "no if than as of in on at by to from for with into about over under between after before is "
    "are was were be been being has have had do does did can could may will would should which "
    "who what when where how there".split()
)


@dataclass(frozen=True)
class WordCounts:
    """The documents each word stands in, words as they stand there but for capitals."""

    documents: int
    found_in: Counter[str]

    def idf(self, word: str) -> float:
        """log(1 + N / n) of a word that n of N documents have; 0 for one that none has."""
        count = self.found_in[word]
        return log(1 + self.documents / count) if count else 0.0


def count_words(blocks: Iterable[Sequence[str]]) -> WordCounts:
    """The words of texts, a block of them in memory at a time."""
    documents, found_in = 0, Counter[str]()
    for texts in blocks:
        documents += len(texts)
        ids, numbers = word_ids(texts, UNSTEMMED)
        names = list(numbers)
        found_in.update(names[number] for row in ids for number in set(row))
    return WordCounts(documents, found_in)


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
