"""Which names the files of a bundle may have: such as stay inside it, on every file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from whet.printable import printable
from whet.run.licences_found import states_licence

LONGEST, LONGEST_PART = 1024, 255  # bytes of a name, and of one of its parts
TEXTS = (".md", ".txt")  # what data of the kind "text files" are read from
PLAIN = ("", ".rst", ".html", *TEXTS)  # endings that no other kind of data is read from
ABOUT = ("croissant.json", "metadata.json", "datapackage.json")  # these no data are read from


def refusal(name: str) -> str | None:
    """Why a bundle may not hold a file of this name; None where it may.

    A name is relative, with `/` between its parts, and leads nowhere else on any system.

    >>> refusal("training/config.yaml")
    >>> refusal("../config.yaml")
    'leads out of the folder'
    >>> refusal("C:/config.yaml")
    'is absolute'
    """
    if printable(name) != name:
        return "holds a control or format character"
    if "\\" in name:
        return "holds a backslash"
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "is absolute"
    parts = name.split("/")
    if ".." in parts:
        return "leads out of the folder"
    if "" in parts or "." in parts:
        return "has an empty part"
    if max(map(_bytes, parts)) > LONGEST_PART or _bytes(name) > LONGEST:
        return f"is longer than {LONGEST_PART} bytes a part, {LONGEST} in all"
    return None


def _bytes(text: str) -> int:
    return len(text.encode())


def clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that are one file where capitals or the spelling of accents do not count, or that
    are the same; None where there are no such.

    >>> clash(["a.md", "b.md", "A.md"])
    ('a.md', 'A.md')
    >>> clash(["a.md", "b.md"])
    """
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None


def is_beside_data(name: str, kind: str) -> bool:
    """Whether a file may lie in a copy of data of this kind though it is no input: it states the
    licence, at the top of the folder, and no data are read from it.

    >>> is_beside_data("LICENSE", "jsonl"), is_beside_data("README.md", "text files")
    (True, False)
    """
    if "/" in name or not states_licence(name):
        return False
    ending = PurePosixPath(name).suffix.lower()
    if kind == "text files" and ending in TEXTS:
        return False
    return ending in PLAIN or name.lower() in ABOUT
