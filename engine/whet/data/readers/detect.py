"""Which format a path holds, told by its content."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from whet.data.readers import beir, hub, text_folder
from whet.data.readers import row_files as tables
from whet.data.readers.lines import json_rows, read_some
from whet.data.readers.records import Reading, Source
from whet.errors import DataError
from whet.printable import printable
from whet.storage.places import user_path

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def find_source(path: str) -> Source:
    """The data at `path` (file, folder or Hugging Face datasets name), not read yet.

    DataError if there is none or it is of no known format, EnvironmentRefused if it would be on the
    hub, which cannot be reached.
    """
    place = user_path(path)
    if place.is_file():
        _refuse_archive(place)
        return tables.source_of_file(place)
    if place.is_dir():
        return _folder(place)
    near = _near(place)
    if near or not hub.NAME.match(path) or path.startswith(".") or _is_under_a_folder(path):
        hint = f"Did you mean {' or '.join(map(printable, near))}?" if near else "Check the path."
        raise DataError(f"{printable(path)}: no such file or folder. {hint}")
    return hub.source_of_name(path)


def _folder(root: Path) -> Source:
    source = hub.source_of_folder(root)
    if source is None and not _is_tevatron_corpus(root):
        source = beir.source_of(root)
    source = source or tables.source_of_folder(root) or text_folder.source_of(root)
    if source is None:
        names = sorted(path.name for path in root.iterdir())[:8]
        held = f"holds {', '.join(map(printable, names))}" if names else "is empty"
        raise DataError(
            f"{printable(root)}: {held}, no format known here. Give it corpus.jsonl, queries.jsonl"
            " and qrels/train.tsv, or train.jsonl with query and positive."
        )
    return source


def _is_tevatron_corpus(root: Path) -> bool:
    """True if corpus.jsonl is Tevatron's (`docid`), to be read with the training file beside it."""
    for path in (root / "corpus.jsonl", root / "corpus.jsonl.gz"):
        if path.is_file():
            rows = json_rows(path, reading := Reading(), reading.file(path.name))
            _, first = next(rows, (0, {}))
            return "docid" in first and "_id" not in first
    return False


def _refuse_archive(path: Path) -> None:
    head = read_some(path, 512)
    packed = head.startswith((b"PK\x03\x04", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ"))
    if packed or head[257:262] == b"ustar" or path.name.lower().endswith(_ARCHIVES):
        raise DataError(
            f"{printable(path)}: is an archive. Unpack it and give the folder or file inside."
        )


def _near(path: Path) -> list[str]:
    """Names beside `path` that are spelled nearly alike, as paths, at most three."""
    try:
        beside = os.listdir(path.parent)
    except OSError:
        return []
    return [str(path.parent / name) for name in get_close_matches(path.name, beside, 3, 0.6)]


def _is_under_a_folder(path: str) -> bool:
    """True for `data/x` where `data` is a folder here: then x was meant to be a path, not
    owner/name.
    """
    return "/" in path and Path(path).parent.is_dir()
