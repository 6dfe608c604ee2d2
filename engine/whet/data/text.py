"""What a text is: when two are the same, which cannot be used, and where its words are; and ids,
also as TREC files have them, whose columns are split at white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b, sha256
from unicodedata import category, normalize
from urllib.parse import quote

import numpy as np

from whet.errors import DataError
from whet.types import Item

END = re.compile(r"(?<=\S[.!?…。\uff01\uff1f])\s+|\n\s*\n|\n(?=\s*[-*|#>])")
LONGEST_SENTENCE = 300  # characters; a table or a log has no full stops
MOST_SENTENCES = 30  # of a document
# Scripts that put no space between words, by their blocks in Unicode
UNSPACED_RANGES = (
    (0x3005, 0x3005),  # the mark of a repeated Han character
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
    (0xFF66, 0xFF9D),  # kana of half width
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
)
UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED_RANGES)
# Their vowels and tones that stand above, below or behind a letter
UNSPACED_MARKS = "".join(
    chr(code)
    for first, last in UNSPACED_RANGES
    if last < 0x3100
    for code in range(first, last + 1)
    if category(chr(code)) in ("Mn", "Mc")
)
LETTER = re.compile(f"[{UNSPACED}][{UNSPACED_MARKS}]*")  # with what stands on it
WORD = re.compile(f"{LETTER.pattern}|[^\\s{UNSPACED}]+")  # a letter of these scripts counts as one
_SPLITS = re.compile(r"[\s\0]")  # what a reader of columns splits at, and what ends a string in C
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's control, format, half pair, line ends


def normalise(text: str) -> str:
    r"""NFKC, casefold, runs of whitespace made one space and trimmed: texts equal after this count
    as one.

    >>> normalise("  Foo\tBAR ")
    'foo bar'
    """
    folded = text.lower() if text.isascii() else normalize("NFKC", text).casefold()
    # in printable text the space is the only whitespace: looking is five times as fast as splitting
    if folded.isprintable() and "  " not in folded and folded == folded.strip(" "):
        return folded
    return " ".join(folded.split())


def told_apart_by(item: Item) -> str:
    """What items that count as one have in common: their normalised text, and a picture's bytes.

    >>> from whet.types import Picture
    >>> told_apart_by(" Foo"), told_apart_by(Picture(b"...", "Foo")) == told_apart_by("foo")
    ('foo', False)
    """
    if isinstance(item, str):
        return normalise(item)
    # NUL: no text has one
    return f"{normalise(item.text)}\0{sha256(item.payload).hexdigest()}"


def hash64(texts: Iterable[str]) -> np.ndarray:
    """BLAKE2b to 8 bytes of each text, uint64 [N]; the same on every machine.

    >>> hash64(["a", "b"])
    array([3405396810240292928, 8453121595177857668], dtype=uint64)
    """
    # surrogatepass: an id with a lone surrogate must be looked up in vain, not raise
    digests = [
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64, copy=False)


def text_id(prefix: str, text: str) -> str:
    """An id made from the text alone (96 bits: among 10^9 texts a clash has odds of 1 in 10^11).

    >>> text_id("d-", "some text")
    'd-f5509ea63607f6f9ed74d67b'
    """
    return prefix + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def text_fault(text: object) -> str | None:
    """The kind of finding that makes a text unusable, or None.

    >>> text_fault("fine"), text_fault(" "), text_fault(3)
    (None, 'empty text', 'text that is not a string')
    """
    if not isinstance(text, str):
        return "text that is not a string"
    if not text or text.isspace():
        return "empty text"
    if "\0" in text or not (text.isascii() or _encodes(text)):
        return "text with NUL or lone surrogate"
    return None


def id_of(value: object) -> str | None:
    """A row's id as text (a JSON int counts), or None where it cannot be one.

    Spaces within are allowed. White space at an end is not, since files of judgments lose it; nor
    are control and format characters, line ends and lone surrogates, which steer a terminal or
    cannot be seen.

    >>> id_of(7), id_of("doc 7"), id_of(" doc"), id_of(True)
    ('7', 'doc 7', None, None)
    """
    if not isinstance(value, str):
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
    if not value or value != value.strip():
        return None
    if value.isprintable():
        return value
    return None if any(category(character) in _UNSEEN for character in value) else value


def trec_id(text: str) -> str:
    """An id with its white space percent-encoded, and then its % too. DataError for an empty one.

    >>> trec_id("my doc"), trec_id("50%"), trec_id("50% off")
    ('my%20doc', '50%', '50%25%20off')
    """
    if not text:
        raise DataError("an id is empty, which a TREC file cannot hold. Give it a letter.")
    if not _SPLITS.search(text):
        return text
    return re.sub(r"[\s\0%]", lambda match: quote(match[0]), text)


class TrecIds:
    """The ids of a file as they are written in it; DataError where two become the same."""

    def __init__(self) -> None:
        self._encoded: dict[str, str] = {}  # as written, of those with a %: only these may meet

    def __getitem__(self, text: str) -> str:
        name = trec_id(text)
        if "%" in name and self._encoded.setdefault(name, text) != text:
            raise DataError(
                f"the ids {self._encoded[name]!r} and {text!r} are both {name} in a TREC file, "
                "where white space is percent-encoded. Rename one of them."
            )
        return name


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def sentences_of(text: str) -> list[str]:
    """The first sentences of a text, each as it stands there.

    >>> sentences_of("One. Two?  Three")
    ['One.', 'Two?', 'Three']
    """
    pieces = (piece.strip() for piece in END.split(text[: MOST_SENTENCES * LONGEST_SENTENCE]))
    cut = [
        piece[start : start + LONGEST_SENTENCE].strip()
        for piece in pieces
        for start in range(0, len(piece), LONGEST_SENTENCE)
    ]
    return [piece for piece in cut if piece][:MOST_SENTENCES]
