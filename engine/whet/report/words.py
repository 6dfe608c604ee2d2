"""Values in words: durations, names of things, beginnings of texts, signed numbers."""

from __future__ import annotations

import json
from typing import Any

from whet.report.charts import MINUS, number

SHORT_TEXT = 180  # characters of a document shown before it is opened


def label(key: str) -> str:
    """`short_rows` -> "Short rows".

    >>> label("short_rows")
    'Short rows'
    """
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def is_number(value: Any) -> bool:
    """True for an int or a float, False for a bool.

    >>> is_number(0.5), is_number(True)
    (True, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def duration(seconds: float) -> str:
    """`3.2 s`, `4 min 05 s`, `2 h 07 min`.

    >>> duration(3.24), duration(245), duration(7620)
    ('3.2 s', '4 min 05 s', '2 h 07 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def value_text(value: Any) -> str:
    """Any JSON value as a short text.

    >>> value_text(None), value_text(12000), value_text([1, "a"])
    ('none', '12,000', '[1, "a"]')
    """
    if value is None:
        return "none"
    if is_number(value):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def short(text: str) -> str:
    """The beginning of a text, cut at a word if there is one.

    >>> short("a few words"), short("word " * 100)[-6:]
    ('a few words', 'word …')
    """
    if len(text) <= SHORT_TEXT:
        return text
    cut = text[:SHORT_TEXT]
    return (cut.rsplit(None, 1)[0] if " " in cut[SHORT_TEXT // 2 :] else cut) + " …"


def p_text(value: float) -> str:
    """`0.012`, or `< 0.001`.

    >>> p_text(0.0117), p_text(0.0002)
    ('0.012', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def signed(value: float) -> str:
    """`+0.0662`, with a true minus sign.

    >>> signed(0.0662), signed(-0.05)
    ('+0.0662', '−0.0500')
    """
    return f"{value:+.4f}".replace("-", MINUS)
