"""What a folder of data or of a model says of its own licence: found, quoted, not interpreted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST = 20_000  # characters of a file that are looked at
LINE = re.compile(r"^\W*licen[cs]e\W*:\s*(?P<said>\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
TAG = re.compile(r"SPDX-License-Identifier:\s*(?P<said>.+?)\s*(?:\*/|-->|$)", re.MULTILINE)
TEXTS = {  # words that a licence's own text has and no other
    "MIT": "permission is hereby granted, free of charge, to any person obtaining a copy",
    "Apache-2.0": "apache license version 2.0, january 2004",
    "CC0-1.0": "cc0 1.0 universal",
    "CC-BY-4.0": "creative commons attribution 4.0 international",
    "CC-BY-SA-4.0": "creative commons attribution-sharealike 4.0 international",
    "CC-BY-NC-4.0": "creative commons attribution-noncommercial 4.0 international",
    "CC-BY-NC-SA-4.0": "creative commons attribution-noncommercial-sharealike 4.0 international",
    "ODC-By-1.0": "open data commons attribution license (odc-by) v1.0",
    "ODbL-1.0": "open database license (odbl) v1.0",
}


@dataclass(frozen=True)
class Statement:
    """What one file says: `says` are its words, or the SPDX id of the licence whose text it is."""

    file: str
    says: str


def statements_in(folder: Path) -> list[Statement]:
    """Every statement of a licence in the files of a folder where such are looked for.

    These are LICENSE files, the front matter of README.md, lines `Licence: ...` of README.md and
    SOURCE.md, and `license` in croissant.json, metadata.json and datapackage.json.
    """
    statements = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        reader = _reader(path.name)
        if reader is None or not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                text = file.read(LONGEST)
        except OSError:
            continue
        statements += [Statement(path.name, words) for words in dict.fromkeys(reader(text))]
    return statements


def states_licence(name: str) -> bool:
    """Whether a file of this name is looked at for a licence: it travels with what it is about.

    >>> states_licence("LICENSE.txt"), states_licence("corpus.jsonl")
    (True, False)
    """
    return _reader(name) is not None


def _reader(name: str) -> Callable[[str], Iterator[str]] | None:
    low = name.lower()
    if low.startswith(("license", "licence", "copying")):
        return _of_text
    if low in ("readme.md", "readme.txt", "source.md"):
        return _of_prose
    return _of_json if low in ("croissant.json", "metadata.json", "datapackage.json") else None


def _of_text(text: str) -> Iterator[str]:
    tag = TAG.search(text)
    if tag:
        yield tag["said"]
        return
    words = " ".join(re.sub(r"[*#_=\-]{2,}", " ", text).lower().split())
    yield from (name for name, sign in TEXTS.items() if sign in words)


def _of_prose(text: str) -> Iterator[str]:
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    if front:
        yield from _of_front_matter(front[1])
        text = text[front.end() :]
    yield from (match["said"] for match in LINE.finditer(text))


def _of_front_matter(text: str) -> Iterator[str]:
    import yaml

    try:
        matter = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    named = matter.get("license") if isinstance(matter, dict) else None
    for licence in named if isinstance(named, list) else [named]:
        if isinstance(licence, str):
            yield licence


def _of_json(text: str) -> Iterator[str]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(record, dict):
        return
    for key in ("license", "licenses"):
        named = record.get(key)
        for licence in named if isinstance(named, list) else [named]:
            words = licence.get("name") if isinstance(licence, dict) else licence
            if isinstance(words, str):
                yield words
