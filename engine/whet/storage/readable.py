"""Small JSON and YAML files that somebody may have damaged, or made: read, or refused in a line."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from whet.errors import CheckpointError, WhetError
from whet.printable import printable

MOST_BYTES = 256 << 20  # of a small file; the largest of ours, a provenance.json, has under 1 MiB
NAMES: dict[type, str] = {dict: "an object", list: "a list"}
# What a clone without git-lfs has in the place of a large file
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LFS_REMEDY = (
    "is a pointer of Git LFS, not the file. Run `git lfs pull` in its folder, or download it."
)


def readable_text(
    path: Path, *, remedy: str, error: type[WhetError] = CheckpointError, most: int = MOST_BYTES
) -> str:
    """The text of a small file.

    Raises `error` with one line that names the file and ends with `remedy` (a sentence), where it
    is missing, no ordinary file (a fifo would be waited for, a device has no end), over `most`
    bytes, or not UTF-8.
    """

    def refuse(reason: str, cause: Exception | None = None) -> WhetError:
        refusal = error(f"{printable(path)} {reason}. {remedy}")
        refusal.__cause__ = cause
        return refusal

    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise refuse("is no ordinary file")
        if about.st_size > most:
            raise refuse(f"has {about.st_size:,} bytes, and {most:,} is the most for such a file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as cause:
        raise refuse("is missing", cause) from cause
    except UnicodeDecodeError as cause:
        raise refuse("is damaged: it is not UTF-8 text", cause) from cause
    except ValueError as cause:  # a NUL in the path
        raise refuse("is no name of a file", cause) from cause
    except OSError as cause:
        raise refuse(f"cannot be read ({cause.strerror or cause})", cause) from cause


def readable_json(
    path: Path, *, remedy: str, kind: type = dict, error: type[WhetError] = CheckpointError
) -> Any:
    """What a small JSON file holds, which is of type `kind` (dict or list).

    Raises `error` with one line that names the file and ends with `remedy`, a sentence that says
    what to do, where it cannot be read, is no JSON, or holds something else.
    """
    return _parsed(path, json.loads, "JSON", remedy=remedy, kind=kind, error=error)


def readable_yaml(
    path: Path, *, remedy: str, kind: type = dict, error: type[WhetError] = CheckpointError
) -> Any:
    """The same of a YAML file: plain values alone, no tags, nothing filled in."""
    import yaml

    return _parsed(path, yaml.safe_load, "YAML", remedy=remedy, kind=kind, error=error)


def _parsed(
    path: Path,
    parse: Callable[[str], Any],
    language: str,
    *,
    remedy: str,
    kind: type,
    error: type[WhetError],
) -> Any:
    text = readable_text(path, remedy=remedy, error=error)
    try:
        value = parse(text)
    except RecursionError as cause:
        raise error(f"{printable(path)} is nested too deep to be read. {remedy}") from cause
    except Exception as cause:  # yaml has a tree of errors of its own, and lets some others through
        raise error(
            f"{printable(path)} is damaged: no {language} ({_place(cause)}). {remedy}"
        ) from cause
    if not isinstance(value, kind):
        held = "nothing" if value is None else f"a {type(value).__name__}"
        raise error(
            f"{printable(path)} is damaged: it should hold {NAMES[kind]}, and holds {held}. "
            f"{remedy}"
        )
    return value


def _place(cause: Exception) -> str:
    """Where in the file, as far as the parser says."""
    mark = getattr(cause, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}"
    if isinstance(cause, json.JSONDecodeError):
        return f"line {cause.lineno}, column {cause.colno}"
    return printable(str(cause).partition("\n")[0])
