"""The text of html, pdf and docx files, by libraries of the extra `docs`."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


class Unreadable(Exception):
    """Why the text of a file cannot be had, in words that follow its name."""


MOST_BYTES = 64 << 20  # of a file, and of what a docx unpacks to
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
# ending -> (module, distribution) that reads it
READERS = {
    ".html": ("html_text", "html-text"),
    ".htm": ("html_text", "html-text"),
    ".xhtml": ("html_text", "html-text"),
    ".pdf": ("pypdf", "pypdf"),
    ".docx": ("docx", "python-docx"),
}


def can_read(path: Path) -> bool:
    """True for a file of one of these kinds whose library is installed."""
    module = READERS.get(path.suffix.lower(), ("", ""))[0]
    return bool(module) and find_spec(module) is not None


def versions(files: tuple[Path, ...]) -> str:
    """The libraries that read the files, with their versions: another one may read otherwise."""
    used = {READERS[suffix][1] for path in files if (suffix := path.suffix.lower()) in READERS}
    return " ".join(f"{name}=={version(name)}" for name in sorted(used))


def text_of_document(path: Path) -> str:
    """The text of a file, its paragraphs apart. Unreadable where it cannot be had."""
    if path.stat().st_size > MOST_BYTES:
        raise Unreadable("is over 64 MiB")
    read: Callable[[Path], str] = {".pdf": _pdf, ".docx": _docx}.get(path.suffix.lower(), _html)
    try:
        text = read(path)
    except Unreadable:
        raise
    except Exception as error:  # these libraries raise what their many parsers raise
        raise Unreadable(f"cannot be read ({type(error).__name__})") from error
    # what no document may hold; pdf files have it where a font has no letters
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


def _html(path: Path) -> str:
    import html_text

    raw = path.read_bytes()
    named = _CHARSET.search(raw[:4096])
    try:
        page = raw.decode(named[1].decode("ascii") if named else "utf-8-sig")
    except (UnicodeDecodeError, LookupError) as error:
        raise Unreadable("is not in the characters that it names, or in UTF-8") from error
    text: str = html_text.extract_text(page)
    return text


def _pdf(path: Path) -> str:
    from pypdf import PdfReader

    with path.open("rb") as file:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("is encrypted")
        return "\n\n".join(page.extract_text() for page in reader.pages)


def _docx(path: Path) -> str:
    from docx import Document
    from docx.table import Table

    with zipfile.ZipFile(path) as packed:
        if sum(entry.file_size for entry in packed.infolist()) > MOST_BYTES:
            raise Unreadable("unpacks to over 64 MiB")
    parts = []
    for block in Document(str(path)).iter_inner_content():
        if isinstance(block, Table):
            rows = [" | ".join(cell.text for cell in row.cells) for row in block.rows]
            parts.append("\n".join(rows))
        else:
            parts.append(block.text)
    return "\n\n".join(part for part in parts if part.strip())
