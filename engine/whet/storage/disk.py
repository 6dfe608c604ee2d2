"""A disk that is full, over its quota or broken: which file it was about, and what to do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from whet.errors import WhetError

REMEDIES = {
    errno.ENOSPC: "Make room there",
    errno.EDQUOT: "Make room there, or have the quota raised",
    errno.EROFS: "Have it mounted for writing, or choose another folder",
    errno.EIO: "Look at the disk",
}
FULL_BYTES = 4096  # less than this is no room: files grow by blocks


@contextmanager
def disk_errors_name(path: Path | str) -> Iterator[None]:
    """Errors of the disk in this block name this file or folder, where they name none.

    The system does not say which file a write was to. Libraries say less: numpy raises an OSError
    without a number, torch a RuntimeError; where no room is left, that is what they mean.
    """
    try:
        yield
    except WhetError:
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        if isinstance(error, OSError) and number in REMEDIES:
            error.filename = error.filename or str(path)
        elif number is None and is_full(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def is_of_disk(error: OSError) -> bool:
    """Whether the disk is to blame: full, over its quota, not to be written, or broken.

    >>> is_of_disk(OSError(errno.ENOSPC, "full")), is_of_disk(OSError(errno.ENOENT, "none"))
    (True, False)
    """
    return error.errno in REMEDIES


def of_disk(error: OSError) -> str:
    """`FILE: No space left on device (/mnt is full)`, for an error that `is_of_disk`.

    Where it names no file, those places a command writes to are named that are full.
    """
    # of a rename or a copy the second name is the one written to
    named = error.filename2 or error.filename
    places = [os.fsdecode(named)] if named else full_places()
    reason = os.strerror(error.errno or 0)
    mounts = dict.fromkeys(mount_of(place) for place in places if is_full(place))
    if mounts:
        reason = f"{reason} ({' and '.join(mounts)} is full)"
    return ": ".join([" or ".join(places), reason] if places else [reason])


def remedy(error: OSError) -> str:
    """What to do about it, a sentence without its full stop."""
    return REMEDIES[error.errno or 0]


def full_places() -> list[str]:
    """The working folder, the temporary one, WHET_CACHE and the output, where no room is left."""
    temporary = os.environ.get("TMPDIR") or "/tmp"  # tempfile would pass over one that is full
    cache = os.environ.get("WHET_CACHE") or os.path.expanduser("~/.cache/whet")
    places = (os.getcwd(), temporary, cache, "/dev/stdout")
    return [place for place in places if is_full(place)]


def is_full(place: Path | str) -> bool:
    """Whether the file system that holds a path, which need not be there yet, has no room left."""
    with suppress(OSError):
        room = shutil.disk_usage(_there(place))
        return room.total > 0 and room.free < FULL_BYTES  # a pipe or /proc has no size at all
    return False


def mount_of(place: Path | str) -> str:
    """Where the file system that holds a path is mounted."""
    path = _there(os.path.realpath(place))
    while not path.is_mount():
        path = path.parent
    return str(path)


def _there(place: Path | str) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = Path(os.path.abspath(place))
    while not path.exists():
        path = path.parent
    return path
