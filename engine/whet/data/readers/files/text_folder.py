"""A folder of documents, one a file, named by its path: .txt and .md; html, pdf and docx with the
extra `docs`; no queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from whet.data.readers.files.documents import (
    READERS,
    Unreadable,
    can_read,
    text_of_document,
    versions,
)
from whet.data.readers.lines import LINE_LIMIT, bad_bytes
from whet.data.readers.records import Reading, Source, Text, files_under
from whet.data.text import id_of
from whet.errors import EnvironmentRefused
from whet.printable import printable
from whet.version import install_line

TEXTS = (".txt", ".md", ".markdown", ".text")


def source_of(root: Path) -> Source | None:
    """The folder as a source, or None unless most of its files, at any depth, are documents.

    Most: a README.md beside data of a kind we cannot read does not make the folder a corpus of one
    document. EnvironmentRefused where most are documents and none can be read as it is.
    """
    files = files_under(root)
    documents = [path for path in files if path.suffix.lower() in (*TEXTS, *READERS)]
    if len(documents) * 2 <= len(files):
        return None
    read = tuple(path for path in documents if path.suffix.lower() in TEXTS or can_read(path))
    if not read:
        endings = ", ".join(sorted({path.suffix.lower() for path in documents}))
        raise EnvironmentRefused(
            f"{printable(root)}: holds {len(documents):,} documents ({endings}), which are read "
            f"with the extra docs. Run `{install_line('docs')}`."
        )
    return Source(
        kind="text files",
        root=root,
        files=read,
        read=partial(_read, root, read),
        fingerprint=versions(read),
    )


def _read(root: Path, files: tuple[Path, ...], reading: Reading) -> Iterator[Text]:
    for path in files:
        name = path.relative_to(root).as_posix()
        place = reading.file(name)
        if id_of(name) is None:
            reading.add("bad id", place, "the file's name cannot be an id")
            continue
        is_text = path.suffix.lower() in TEXTS
        text = _plain_text(path, reading, place) if is_text else _text(path, reading, place)
        if text is not None and reading.usable(text, place, "the file"):
            yield Text("corpus", name, text, place)


def _text(path: Path, reading: Reading, place: int) -> str | None:
    try:
        return text_of_document(path)
    except (Unreadable, OSError) as error:
        reading.add("document that cannot be read", place, str(error))
        return None


def _plain_text(path: Path, reading: Reading, place: int) -> str | None:
    with open(path, "rb") as handle:
        # One byte more than allowed shows that there is more, without reading it.
        raw = handle.read(LINE_LIMIT + 1)
    if len(raw) > LINE_LIMIT:
        reading.add("line too long", place, "the file is over 16 MiB")
        return None
    try:
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return raw.decode("utf-16")
        return raw.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        reading.add("bad UTF-8", place, bad_bytes(raw, error.start))
        return None
