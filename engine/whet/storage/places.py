"""Where Whet keeps what can be made again, and where it writes what people asked for."""

from __future__ import annotations

import os
from pathlib import Path

from whet.errors import EnvironmentRefused
from whet.printable import printable


def user_path(name: str) -> Path:
    """The path a person means: ~ is the home. A home that is not known here stays a name like
    others, which no file has.

    >>> str(user_path("~nobody-of-that-name/data"))
    '~nobody-of-that-name/data'
    """
    return Path(os.path.expanduser(name))


def cache_folder() -> Path:
    """Where converted data and embeddings are kept: $WHET_CACHE, or ~/.cache/whet.

    EnvironmentRefused where neither is known, as for a container's user without a home.
    """
    kept = os.environ.get("WHET_CACHE")
    if kept:
        return Path(kept)
    home = user_path("~")
    if not home.is_absolute():
        raise EnvironmentRefused(
            "this user has no home folder, in which ~/.cache/whet would be. Set WHET_CACHE to a "
            "folder that can be written."
        )
    return home / ".cache" / "whet"


def make_folder(folder: Path) -> None:
    """Make a folder to write results to, and those above it; as `check_place` says."""
    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)


def check_place(folder: Path) -> None:
    """EnvironmentRefused where a folder, which need not be there yet, may not be written to by this
    user, or could not be made, since something else is in the way.
    """
    if str(folder).startswith("~") and not Path(folder.parts[0]).exists():
        raise EnvironmentRefused(
            f"{printable(folder)}: there is no such home here. Write ./{printable(folder)} for a "
            "folder of that name."
        )
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    reason = None if there.is_dir() else "is no folder"
    if reason is None and not os.access(there, os.W_OK | os.X_OK):
        reason = "may not be written to"
    if reason is not None:
        raise EnvironmentRefused(
            f"{printable(there)}: {reason}. Say where to write the results: output=FOLDER."
        )
