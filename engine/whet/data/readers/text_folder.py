"""A folder of plain .txt and .md files: each a document, named by its path; no queries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from whet.data.readers.lines import LINE_LIMIT, bad_bytes
from whet.data.readers.records import Reading, Source, Text, files_under
from whet.data.text import id_of

ENDINGS = (".txt", ".md", ".markdown", ".text")


def source_of(root: Path) -> Source | None:
    """The folder as a source, or None unless most of its files, at any depth, are texts.

    Most: a README.md beside data of a kind we cannot read does not make the folder a corpus of one
    document.
    """
    files = files_under(root)
    texts = tuple(path for path in files if path.suffix.lower() in ENDINGS)
    if len(texts) * 2 <= len(files):
        return None
    return Source(kind="text files", root=root, files=texts, read=partial(_read, root, texts))


def _read(root: Path, files: tuple[Path, ...], reading: Reading) -> Iterator[Text]:
    for path in files:
        name = path.relative_to(root).as_posix()
        place = reading.file(name)
        with open(path, "rb") as handle:
            # One byte more than allowed shows that there is more, without reading it.
            raw = handle.read(LINE_LIMIT + 1)
        if len(raw) > LINE_LIMIT:
            reading.add("line too long", place, "the file is over 16 MiB")
            continue
        if id_of(name) is None:
            reading.add("bad id", place, "the file's name cannot be an id")
            continue
        try:
            text = raw.removeprefix(b"\xef\xbb\xbf").decode()
        except UnicodeDecodeError as error:
            reading.add("bad UTF-8", place, bad_bytes(raw, error.start))
            continue
        if reading.usable(text, place, "the file"):
            yield Text("corpus", name, text, place)
