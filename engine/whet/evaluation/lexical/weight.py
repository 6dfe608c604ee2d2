"""How much words count beside vectors, where nobody has judged it.

In a study before this was built, on ten cut collections, a weight of 0.3 raised nDCG@10 on nine. It
lowered it on the one whose documents lack over a third of the queries' words; there 0.1 costs
little. So one number decides. `benchmarks/adapt.py` asks the same of whole collections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whet.config import BM25
from whet.config.ranges import words_weight
from whet.errors import ConfigError
from whet.evaluation.lexical import Documents, Words, check_installed, corpus_language
from whet.evaluation.lexical.languages import COMMON, counted_in, stems
from whet.progress import say

if TYPE_CHECKING:
    from whet.model.encoder import Encoder
    from whet.model.towers import Towers

USUAL, CAREFUL = 0.3, 0.1
LEAST_KNOWN = 0.7  # of the queries' content words
GATE = "gate"
VALUES = ("auto", GATE)


def word_weight(
    queries: Sequence[str], corpus: Documents | Words, language: str | None = None
) -> float:
    """USUAL, or CAREFUL where under LEAST_KNOWN of the queries' content words occur in the corpus,
    each counted as often as it is asked for.

    A content word is none of those that the language's texts have most. Of a language whose such
    words are not known nothing can be said: CAREFUL. So it is without any query.
    """
    words = corpus
    if not isinstance(words, Words):
        words = Words(words, language or corpus_language(words))
    share = known_share(queries, words)
    return USUAL if share is not None and share >= LEAST_KNOWN else CAREFUL


def known_share(queries: Sequence[str], words: Words) -> float | None:
    """The share of the queries' content words that occur in the corpus; None where there are none,
    or the language's function words are not known.
    """
    if words.language not in COMMON:
        return None
    function = {stem for row in stems([COMMON[words.language]], words.language) for stem in row}
    asked = [word for row in stems(queries, words.language) for word in row if word not in function]
    if not asked:
        return None
    distinct = sorted(set(asked))
    known = dict(zip(distinct, words.frequencies(distinct) > 0, strict=True))
    return sum(bool(known[word]) for word in asked) / len(asked)


def check_words(words: str, model: str, others: tuple[str, ...] = VALUES) -> None:
    """Refuse a value of `words=` that is none, or has nothing to count beside (ConfigError), and
    packages that are not here (EnvironmentRefused).
    """
    weight = words_weight(words, others)
    if words == "auto":
        return
    if model == BM25:
        raise ConfigError(
            f"words={words} counts words beside a model's vectors, and {BM25} has none. Leave it "
            "out, or name a model."
        )
    if weight != 0:
        check_installed()


def count_words(
    model: Encoder | Towers,
    words: str,
    corpus: Documents,
    *,
    queries: Sequence[str] = (),
    language: str | None = None,
) -> None:
    """Make the model's searches count words as `words=` says; auto leaves what its folder says.
    The language is the documents' own, and told, where none is given.
    """
    if words == "auto":
        return
    weight = words_weight(words, VALUES)
    if weight == 0:
        model.words = 0.0
        return
    if language is None:
        language = corpus_language(corpus)
        if language != "english":
            say(counted_in(language))
    if weight is None:
        weight = word_weight(queries, corpus, language)
        say(f"Words in common count {weight:g} beside the vectors (words={words}).")
    model.words, model.language = weight, language
