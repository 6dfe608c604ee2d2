"""What lies in a bundle's folder, looked at without following a link or opening a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from whet.bundle.names import LONGEST
from whet.errors import CheckpointError
from whet.printable import printable

MOST_FILES = 50_000  # in a bundle; those that fits leave have some dozens
LINK, SPECIAL = "A LINK", "NO ORDINARY FILE"
HUB_FILE, HUB_FOLDERS = ".gitattributes", (".git", ".cache")  # hubs add these to what was put there


@dataclass
class Contents:
    """The ordinary files, by their names in the folder, sorted; and by name what else is there: a
    link, or a pipe, socket or device. Folders are neither; what hubs add is left out.
    """

    files: list[str] = field(default_factory=list)
    odd: dict[str, str] = field(default_factory=dict)


def is_of_hubs(name: str) -> bool:
    """Whether a hub adds a file of this name.

    >>> is_of_hubs(".gitattributes"), is_of_hubs("model.safetensors")
    (True, False)
    """
    first, _, rest = name.casefold().partition("/")
    return name.casefold() == HUB_FILE or (first in HUB_FOLDERS and bool(rest))


def contents_of(folder: Path) -> Contents:
    """Look through a folder. CheckpointError if it holds more than MOST_FILES, nests too deep, or
    cannot be read.
    """
    contents, waiting, seen = Contents(), [""], 0
    while waiting:
        above = waiting.pop()
        for entry in _entries(folder, above):
            seen += 1
            name = f"{above}{entry.name}"
            if seen > MOST_FILES:
                raise CheckpointError(
                    f"{printable(folder)} holds over {MOST_FILES:,} files: no bundle has so many."
                )
            _sort_in(entry, name, contents, waiting)
    contents.files.sort()
    return contents


def _sort_in(entry: os.DirEntry[str], name: str, contents: Contents, waiting: list[str]) -> None:
    if entry.is_symlink():
        contents.odd[name] = LINK
    elif entry.is_dir(follow_symlinks=False):
        if name not in HUB_FOLDERS:
            waiting.append(f"{name}/")
    elif not entry.is_file(follow_symlinks=False):
        contents.odd[name] = SPECIAL
    elif name != HUB_FILE:
        contents.files.append(name)


def _entries(folder: Path, above: str) -> Iterator[os.DirEntry[str]]:
    if len(above) > LONGEST:
        raise CheckpointError(
            f"{printable(folder)} nests folders deeper than a bundle does: {printable(above[:80])}."
        )
    try:
        with os.scandir(folder / above) as entries:
            yield from entries
    except OSError as error:
        raise CheckpointError(
            f"{printable(folder / above)} cannot be read ({error.strerror}). Get the bundle again."
        ) from error
