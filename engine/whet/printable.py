"""Text of others on its way to a terminal: what a name or an id holds must not steer the screen."""

from __future__ import annotations

import re
from unicodedata import category

# all but what prints by itself; a space of any width is kept, since it moves nothing
_ASCII = re.compile(r"[\x20-\x7e]*")


def printable(value: object) -> str:
    r"""`str(value)` on one line, every control, format and unassigned character escaped.

    Escape sequences, line ends, bidirectional overrides and lone surrogates come out as Python
    writes them: an id cannot clear the screen, fake a second line or reorder the words around it.

    >>> print(printable("a\x1b[2J\nb\u202ec"))
    a\x1b[2J\nb\u202ec
    """
    text = str(value)
    if _ASCII.fullmatch(text):
        return text
    return "".join(character if _harmless(character) else _escaped(character) for character in text)


def printable_lines(text: str) -> str:
    r"""The same for text of several lines: its line ends and tabs stay, as a table needs them.

    >>> print(printable_lines("a\nc\x1b[2J"))
    a
    c\x1b[2J
    """
    return re.sub(r"[^\n\t]+", lambda part: printable(part[0]), text)


def _harmless(character: str) -> bool:
    return character.isprintable() or category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
