"""The checkpoints of a run folder: the newest whole one, and how many are kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from whet.errors import CheckpointError
from whet.progress import say
from whet.storage.commit import verify_folder


def newest_whole(folder: Path) -> Path | None:
    """The last checkpoint under `folder` that verifies; damaged ones are skipped with a warning."""
    for candidate in sorted(folder.glob("step_*"), reverse=True):
        if candidate.suffix == ".tmp":
            continue
        try:
            verify_folder(candidate)
        except CheckpointError as error:
            say(f"Skipping a checkpoint: {error}")
            continue
        return candidate
    return None


def keep_newest(folder: Path, count: int) -> None:
    """Delete all but the newest `count` checkpoints, oldest first."""
    whole = sorted(path for path in folder.glob("step_*") if path.suffix != ".tmp")
    for old in whole[:-count]:
        shutil.rmtree(old)
