"""One job in a folder at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from whet.errors import CheckpointError
from whet.storage.disk import disk_errors_name


@contextmanager
def locked(folder: Path) -> Iterator[IO[bytes]]:
    """Hold a run folder; a second job on it is refused and told the first one's process id.

    The lock dies with its process, also by kill -9; a child that inherited the open file which is
    yielded goes on holding it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+b", buffering=0) as file:
        if not lock_descriptor(file.fileno(), blocking=False):
            holder = b""
            with suppress(OSError):  # Windows lets nobody else read what is locked
                file.seek(0)
                holder = file.read()
            raise CheckpointError(
                f"{folder} is in use by process {holder.decode().strip() or '?'}. "
                "Wait for it, stop it, or choose another output folder."
            )
        with disk_errors_name(file.name):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield file


def in_use(folder: Path) -> bool:
    """Whether a job holds the folder by `locked`."""
    try:
        with locked(folder):
            return False
    except CheckpointError:
        return True
