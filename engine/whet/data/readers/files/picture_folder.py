"""A folder of pictures, one a file, named by its path. Folders in it are classes, in which pictures
answer each other, as torchvision's ImageFolder and Hugging Face's imagefolder have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from whet.data.readers.records import Reading, Source, Text, files_under, labelled
from whet.data.readers.rows.kinds import split_name
from whet.data.text import id_of
from whet.processes.host import cores
from whet.storage.pictures import ENDINGS, picture_fault

SPLITS = ("train", "dev", "test")
_AT_ONCE = 64  # files in memory


class _Place(NamedTuple):
    """What a picture's path says of it."""

    split: str
    label: str | None


def source_of(root: Path, *, labels: bool) -> Source | None:
    """The folder as a source, or None unless most of its files, at any depth, are pictures.

    `labels`: folders are classes, where every picture lies in one and there are at least two.
    train/, dev/ (val/) and test/ above them are splits.
    """
    files = files_under(root)
    pictures = tuple(path for path in files if path.suffix.lower() in ENDINGS)
    if not pictures or len(pictures) * 2 <= len(files):
        return None
    places = _places(root, pictures)
    classes = {place.label for place in places}
    classed = labels and None not in classes and len(classes) > 1
    if not classed:
        places = [_Place("train", None)] * len(pictures)  # all are documents
    return Source(
        kind="class folders of pictures" if classed else "pictures",
        root=root,
        files=pictures,
        read=partial(_read, root, pictures, places),
        fingerprint="classes" if classed else "",
        pictures=True,
        labelled=classed,
    )


def _places(root: Path, pictures: Sequence[Path]) -> list[_Place]:
    """Split and class of each picture; without splits all are of train."""
    parts = [path.relative_to(root).parts[:-1] for path in pictures]
    in_splits = all(part and split_name(part[0]) in SPLITS for part in parts)
    first = 1 if in_splits else 0
    return [
        _Place(
            split_name(part[0]) if in_splits else "train",
            part[first] if len(part) > first else None,
        )
        for part in parts
    ]


def _read(
    root: Path, files: tuple[Path, ...], places: list[_Place], reading: Reading
) -> Iterator[Text]:
    with ThreadPoolExecutor(cores()) as pool:  # Pillow decodes beside the interpreter
        for start in range(0, len(files), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            read = pool.map(_payload, files[some])
            for path, place, (payload, fault) in zip(files[some], places[some], read, strict=True):
                name = path.relative_to(root).as_posix()
                at = reading.file(name)
                if fault is not None:
                    reading.add("picture that cannot be read", at, fault)
                elif id_of(name) is None:
                    reading.add("bad id", at, "the file's name cannot be an id")
                else:
                    yield from labelled(Text("", name, "", at, payload, place.label), place.split)


def _payload(path: Path) -> tuple[bytes, str | None]:
    """A file's bytes, and what is wrong with them."""
    try:
        payload = path.read_bytes()
    except OSError as error:
        return b"", f"cannot be read: {error.strerror}"
    return payload, picture_fault(payload)
