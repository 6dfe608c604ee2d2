"""How much words in common count beside the vectors of a model: words.json in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from whet.config import LANGUAGES, UNSTEMMED
from whet.errors import CheckpointError
from whet.model.parts.layout import ROUTER
from whet.printable import printable
from whet.storage.readable import readable_json

WORDS = "words.json"
ENGLISH = "english"
REMEDY = (
    'It should say {"weight": 0.2} or the like. Tune again, or remove it to search by vectors '
    "alone."
)


class WordsBeside(NamedTuple):
    """The weight of BM25's share beside a cosine, 0 for not at all, and the language that words are
    counted in.
    """

    weight: float = 0.0
    language: str = ENGLISH

    def sentence(self) -> str:
        """What somebody should know who has only the vectors."""
        return (
            f"This model's searches add words in common (BM25) with weight {self.weight:g}; its "
            "vectors know nothing of them."
        )

    @property
    def kept(self) -> str:
        """What to know of a model that was trained, and whose weight nothing was tried against."""
        return f"{self.sentence()} The weight is that of the model it began with."


def words_of(folder: Path) -> WordsBeside:
    """What a model's folder says of words. CheckpointError where that is damaged."""
    path = folder / WORDS
    if not path.exists():
        return WordsBeside()
    record = readable_json(path, remedy=REMEDY)
    weight, language = record.get("weight"), record.get("language", ENGLISH)
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 <= weight < float("inf"):
        raise CheckpointError(f"{printable(path)} is damaged: no weight. {REMEDY}")
    if language not in (*LANGUAGES, UNSTEMMED):
        raise CheckpointError(
            f"{printable(path)} counts words in {printable(repr(language))}, which is no language "
            f"that Whet knows. {REMEDY}"
        )
    return WordsBeside(float(weight), language)


def words_of_whole(folder: Path) -> WordsBeside:
    """The same; of one side of a model what the whole one's folder says."""
    side = (folder.parent / ROUTER).is_file()
    return words_of(folder.parent if side else folder)


def write_words(draft: Path, words: WordsBeside) -> None:
    """Write it, where words count, into the draft of a model's folder."""
    if words.weight:
        other = {} if words.language == ENGLISH else {"language": words.language}
        text = json.dumps({"weight": words.weight, **other}, indent=2) + "\n"
        (draft / WORDS).write_text(text, encoding="utf-8")
