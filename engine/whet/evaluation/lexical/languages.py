"""Which language texts are in, and how the words of a language are counted: where they end, which
say nothing, what their stems are.

Snowball's stemmers by PyStemmer; stop words of bm25s (NLTK's), where it has any of the language. In
scripts without spaces each two neighbouring letters are a word, as Lucene's CJK analysis has it. A
letter goes with the vowels and tones that stand on it: without them 0.89, with them 0.96 nDCG@10
on the Thai of XQuAD.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from unicodedata import category

from whet.config import LANGUAGES, UNSTEMMED
from whet.data.text import LETTER, UNSPACED
from whet.errors import EnvironmentRefused
from whet.evaluation.lexical.name_parts import with_parts
from whet.printable import printable
from whet.version import install_line

BEGINNING = 2000  # characters of each text that are looked at
LEAST_SHARE = 0.1  # of the words in a language's list; texts of many languages have less of each
CLEARLY = 1.5  # times as many as of English ones
_RUN = re.compile(f"[{UNSPACED}]+")
# The words that a language's texts have most, and that others of its script have not
COMMON = {
    "arabic": "في من على إلى أن عن التي الذي هذا هذه كان مع ما لم كما",
    "armenian": "և է են որ համար այս իր նա էր մեջ հետ",
    "basque": "eta da dira ez bat izan zen baina ere dute zuen",
    "catalan": "els les amb per és dels aquest aquesta també va són més seva",
    "czech": "je na se že který která jsou také jako by však pro jeho byl nebo",
    "danish": "og at er af til på for ikke der blev også efter fra som hun havde",
    "dutch": "de het een van en dat niet zijn op voor met ook werd door naar aan",
    "english": "the of and to that was with by this from which are it as be is",
    "finnish": "ja on ei että oli se hän mutta kun sen ovat joka myös sekä",
    "french": "le la les des et une est dans pour que qui sur pas du au avec",
    "german": "der die das und ist nicht ein eine mit von den für auf sich dem wird auch zu",
    "greek": "και το να του της με που για από είναι στην τον την οι στο",
    "hindi": "के में है की और से को का पर हैं एक यह ने कि",
    "hungarian": "az és hogy nem is egy volt meg ez mint csak már vagy",
    "indonesian": "yang dan di ini dengan untuk dari pada tidak dalam adalah itu oleh",
    "italian": "di che il la per una sono con non della del nel dei più gli",
    "lithuanian": "ir kad yra buvo su iš bet tai kaip jo apie arba",
    "norwegian": "og er av til på for ikke det ble også etter fra som hun hadde",
    "persian": "و در به از که این را با است برای آن یک می شد",
    "polish": "w i na się że z do nie jest to jak przez od po który",
    "portuguese": "de que não uma os do da em para com por mais foi são ao",
    "romanian": "și în de care este din pentru nu pe cu mai lui fost sunt",
    "russian": "и в на не что с по как это из к для от он был",
    "spanish": "de la que el los las en una por con del para es más se",
    "swedish": "och att är av till på för inte det som med den från hade också",
    "tamil": "மற்றும் ஒரு இந்த என்று உள்ள என்ற அவர் ஆகும் இது",
    "turkish": "ve bir bu için ile olarak da de olan çok daha gibi kadar",
    # without a stemmer, so that they are taken for no other
    "bulgarian": "на и се за от да са със като по не беше този",
    "hebrew": "של את על הוא לא עם זה היא גם אשר היה בין",
    "slovak": "je na sa že ktorý sú aj ako by však pre jeho bol alebo",
    "ukrainian": "і в на що не з та до як це від він для був",
    "vietnamese": "của và là có được trong các một những cho không với",
}
# bm25s's names of its lists
STOP_WORDS = {
    "danish": "da",
    "dutch": "nl",
    "english": "en",
    "french": "fr",
    "german": "de",
    "italian": "it",
    "norwegian": "no",
    "portuguese": "pt",
    "russian": "ru",
    "spanish": "es",
    "swedish": "sv",
    "turkish": "tr",
}


def language_of(texts: Sequence[str]) -> str:
    """The language that texts are counted in, one of LANGUAGES, by the words they have most: none
    where there is no stemmer for it, english where nothing is clear.

    >>> language_of(["Der Drucker ist nicht mit dem Netz verbunden und die Lampe ist aus."])
    'german'
    """
    words = [word for text in texts for word in _pattern().findall(text[:BEGINNING].lower())]
    if not words:
        return "english"
    shares = {name: _share(words, common.__contains__) for name, common in _common()}
    best = max(shares, key=lambda name: shares[name])
    if best != "english" and shares[best] >= max(LEAST_SHARE, CLEARLY * shares["english"]):
        return best if best in LANGUAGES else UNSTEMMED
    latin = _share(words, lambda word: word[0] < "\u0250")
    return "english" if latin >= 0.5 else UNSTEMMED


def _share(words: list[str], of: Callable[[str], bool]) -> float:
    return sum(map(of, words)) / len(words)


def counted_in(language: str) -> str:
    """The sentence to say where nobody named a language.

    >>> counted_in("german")
    'BM25 counts words by their stems in German, as the texts look.'
    """
    how = f"by their stems in {language.capitalize()}"
    if language == UNSTEMMED:
        how = "as they stand, and pairs of letters where no spaces part words"
    return f"BM25 counts words {how}, as the texts look."


def check_installed() -> None:
    """EnvironmentRefused without the packages that count words."""
    if any(find_spec(name) is None for name in ("bm25s", "Stemmer")):
        raise EnvironmentRefused(
            f"Counting words (BM25) needs bm25s and PyStemmer. Run `{install_line('bm25')}`."
        )


def stems(texts: Sequence[str], language: str = "english") -> list[list[str]]:
    """The words of each text that count, as they are compared, the parts of names among them.
    EnvironmentRefused where the installed PyStemmer does not know the language.
    """
    ids, numbers = word_ids([with_parts(text) for text in texts], language)
    names = list(numbers)
    assert list(numbers.values()) == list(range(len(names)))
    return [[names[number] for number in row] for row in ids]


def word_ids(
    texts: Sequence[str], language: str = "english"
) -> tuple[list[list[int]], dict[str, int]]:
    """Words as numbers, and the number of each word in these texts. Names are one word each."""
    import bm25s

    words = bm25s.tokenize(
        [_RUN.sub(_pairs, text) for text in texts],
        stopwords=STOP_WORDS.get(language),
        stemmer=_stemmer(language),
        token_pattern=_pattern().pattern,
        show_progress=False,
    )
    return words.ids, words.vocab


def _stemmer(language: str) -> Callable[[list[str]], list[str]] | None:
    import Stemmer

    if language == UNSTEMMED:
        return None
    if language not in Stemmer.algorithms():
        raise EnvironmentRefused(
            f"this PyStemmer has no stems of {printable(language)}. Run "
            f"`{install_line('bm25')} -U`, or give bm25.language={UNSTEMMED}."
        )
    # one per call: it keeps what it met, for one thread
    stemmer: Callable[[list[str]], list[str]] = Stemmer.Stemmer(language)
    return stemmer


@cache
def _common() -> list[tuple[str, frozenset[str]]]:
    return [(name, frozenset(words.split())) for name, words in COMMON.items()]


@cache
def _pattern() -> re.Pattern[str]:
    """A word: as Lucene has it, those of one letter too; a vowel sign of Hindi is part of it."""
    marks = "".join(chr(code) for code in range(0x300, 0xAC00) if category(chr(code))[0] == "M")
    return re.compile(rf"(?u)\w[\w{marks}]*")


def _pairs(run: re.Match[str]) -> str:
    """A run of a script without spaces as words: each two neighbouring letters.

    >>> _RUN.sub(_pairs, "GPU\u5185\u5b58\u6e05, ok") == "GPU \u5185\u5b58 \u5b58\u6e05 , ok"
    True
    """
    letters = [letter for letter in LETTER.findall(run[0]) if letter[0].isalnum()]
    if len(letters) < 2:
        return f" {''.join(letters)} "
    return f" {' '.join(map(''.join, pairwise(letters)))} "
