"""TREC topics: queries in tags, in the SGML of its tracks (`<num>`, `<title>`) or in XML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from whet.data.readers.lines import numbered_lines, read_some
from whet.data.readers.records import Reading, Text
from whet.data.text import id_of
from whet.printable import printable

_TOPIC = re.compile(r"<top(?:ic)?\b(?P<attributes>[^>]*)>(?P<body>.*?)</top(?:ic)?>", re.S | re.I)
_NUMBER = re.compile(r"<num(?:ber)?>\s*(?:Number:)?\s*([^\s<]+)", re.I)
_ATTRIBUTE = re.compile(r"""\b(?:number|id)\s*=\s*["']([^"']+)["']""", re.I)
_WORDS = re.compile(r"<(query|title)>\s*(?:Topic:)?\s*([^<]*)", re.I)
_OTHERS = re.compile(r"<(desc|narr|description|narrative|question)\w*\b", re.I)


def is_topics(path: Path) -> bool:
    """True for a file that begins with topics in tags."""
    head = read_some(path, 4096).decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    return head.startswith("<") and bool(re.search(r"<top(ic)?\b", head))


def topics_in(path: Path, name: str, reading: Reading) -> Iterator[Text]:
    """The queries of a file of topics: title or query of each. What else they say is told."""
    base = reading.file(name)
    lines = list(numbered_lines(path, reading, base))
    text = "\n".join(line for _, line in lines)
    others: set[str] = set()
    for match in _TOPIC.finditer(text):
        place = lines[text.count("\n", 0, match.start())][0]
        number = _NUMBER.search(match["body"]) or _ATTRIBUTE.search(match["attributes"])
        words = _WORDS.search(match["body"])
        others |= {other.lower() for other in _OTHERS.findall(match["body"])}
        id_ = id_of(number[1].strip()) if number else None
        query = " ".join(html.unescape(words[2]).split()) if words else None
        if id_ is None:
            reading.add("missing field", place, "a topic without a number")
        elif reading.usable(query, place, "title of a topic"):
            yield Text("queries", id_, str(query), place)
    if others:
        what = f"of topics the title is the query; {', '.join(sorted(others))} are not read"
        reading.findings.add("column not read", printable(name), what)
