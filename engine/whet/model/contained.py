"""What of a model's folder may be opened: ordinary files that lie in it, and nothing by a link or a
path that leads elsewhere.

A stranger's folder is copied from, published and sent to jobs: a `vocab.txt` that is a link to a
private file would go along.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from whet.errors import ConfigError
from whet.printable import printable
from whet.storage.readable import LFS_POINTER, LFS_REMEDY

MOST_OF_A_POINTER = 1024  # bytes, by Git LFS's specification
READ = (  # names of files that Whet, transformers or a copy of the folder may read
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    "*.codes",
    "*.spm",
    "*.jinja",
    "*.py",
    "vocab*",
    "README.md",
    "LICENSE*",
)


def check_files(folder: Path) -> None:
    """Look at what may be read of a model's folder and of the folders in it.

    Raises ConfigError with the first link that leads out of the folder, and the first name that is
    a fifo, a device or a folder where a file must be. In the cache of the Hugging Face hub a file
    is a link to a blob of the same repository; that one is followed.
    """
    homes = _homes(folder)
    for place in (folder, *_folders_in(folder, homes)):
        for entry in _entries(place):
            if any(fnmatch(entry.name, pattern) for pattern in READ):
                _check_file(entry, homes)


def stays_inside(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, ends in a model's folder or its repository's blobs."""
    return _is_in(path, _homes(folder))


def inner_path(folder: Path, name: str, named_in: Path) -> Path:
    """The path of something that a file of the folder (`named_in`) names; "" is the folder itself.

    Raises ConfigError where it is absolute, leads out of the folder or is no name of a file.
    """
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:  # half a surrogate pair
        raise ConfigError(
            f"{printable(named_in)}: {printable(repr(name))} is no name of a file. Fetch the model "
            "again."
        ) from error
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ConfigError(
            f"{printable(named_in)}: the path {printable(repr(name))} leads out of the model's "
            "folder. Give a model whose files lie in its own folder."
        )
    if not stays_inside(folder / name, folder):
        raise _leads_out(folder / name)
    return folder / name


def _homes(folder: Path) -> tuple[Path, ...]:
    """The real folders that a model's files may lie in."""
    real = folder.resolve()
    for part in (real, *real.parents):  # models--OWNER--NAME/snapshots/COMMIT
        if part.parent.name == "snapshots" and part.parent.parent.name.startswith("models--"):
            return real, part.parent.parent / "blobs"
    return (real,)


def _is_in(path: Path, homes: tuple[Path, ...]) -> bool:
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):  # a link to itself; a name that no file can have
        return False
    return any(real.is_relative_to(home) for home in homes)


def _folders_in(folder: Path, homes: tuple[Path, ...]) -> Iterator[Path]:
    for entry in _entries(folder):
        if not os.path.isdir(entry.path):  # entry.is_dir fails for a link to itself
            continue
        if entry.is_symlink() and not _is_in(Path(entry.path), homes):
            raise _leads_out(Path(entry.path))
        yield Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(
            f"{printable(folder)} cannot be read ({error.strerror}). Give a folder that you may "
            "read."
        ) from error


def _check_file(entry: os.DirEntry[str], homes: tuple[Path, ...]) -> None:
    path = Path(entry.path)
    if entry.is_symlink() and not _is_in(path, homes):
        raise _leads_out(path)
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        raise ConfigError(
            f"{printable(path)} cannot be read ({error.strerror}). Fetch the model again."
        ) from error
    if not stat.S_ISREG(mode) and not (stat.S_ISDIR(mode) and not path.suffix):
        raise ConfigError(
            f"{printable(path)} is no ordinary file. Give a model folder that holds files alone."
        )
    if not may_read(path):
        raise ConfigError(
            f"{printable(path)} may not be read by this user. Have its owner permit it "
            "(chmod a+r), or copy the model."
        )
    small = stat.S_ISREG(mode) and entry.stat().st_size < MOST_OF_A_POINTER
    if small and path.read_bytes().startswith(LFS_POINTER):
        raise ConfigError(f"{printable(path)} {LFS_REMEDY}")


def may_read(path: Path) -> bool:
    """Whether this process may read a file, or list and enter a folder."""
    wanted = os.R_OK | (os.X_OK if os.path.isdir(path) else 0)
    return os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids)


def _leads_out(path: Path) -> ConfigError:
    return ConfigError(
        f"{printable(path)} is a link that leads out of the model's folder, and is not followed. "
        "Put a copy of the file in its place."
    )
