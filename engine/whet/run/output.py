"""What mining, encoding, judging and exporting write: a folder that is whole, or not begun.

All files are written to a hidden draft inside the folder asked for (which may be a mounted volume),
and moved to their places when the last one is there; `manifest.json` comes last of all, with each
file's size and sha256 and the facts that decided the content. After a kill the same command finds a
draft that is not whole, which counts for nothing; or one that is, and moves what is left of it; or
a folder of its own that lacks files, and does it again. What anybody else put there stays.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import whet.version
from whet.errors import AlreadyDone, CheckpointError, ConfigError
from whet.progress import say
from whet.run.folder import DRAFT, check_free, new_folder
from whet.storage.commit import (
    MANIFEST,
    draft_files,
    file_sha256,
    read_manifest,
    sealed,
    sync,
    write_manifest,
)
from whet.storage.disk import disk_errors_name
from whet.storage.lock import locked


@dataclass(frozen=True)
class Output:
    """Where the files are written, and where they will be."""

    draft: Path
    folder: Path

    def final(self, path: Path) -> Path:
        """Where a file of the draft will be."""
        return self.folder / path.relative_to(self.draft)


def facts_of(verb: str, config: Any, data: str | None, *models: str) -> dict[str, Any]:
    """What decides an output: `data` is the digest of the data, `models` the fingerprints."""
    options = {name: value for name, value in asdict(config).items() if name != "output"}
    facts = {"verb": verb, "whet": whet.version.VERSION, "config": options}
    return {**facts, "data": data, "models": list(models)}


def refuse_taken(output: str | None, facts: dict[str, Any]) -> None:
    """What `whole_output` refuses, as far as it is known before a model is loaded: `facts` lack the
    models.

    Raises ConfigError if the folder holds what no command of these facts wrote, and
    EnvironmentRefused where it may not be written to.
    """
    facts = json.loads(json.dumps(facts))
    with suppress(CheckpointError):
        kept = read_manifest(Path(output))["facts"] if output is not None else None
        if isinstance(kept, dict) and all(
            kept.get(name) == value for name, value in facts.items() if name != "models"
        ):
            return
    check_free(output)


@contextmanager
def whole_output(output: str | None, name: str, facts: dict[str, Any]) -> Iterator[Output]:
    """Fill the yielded draft; its files appear in `output` (by default runs/<date>_<time>_<name>)
    at the end of the block, or none does.

    Raises AlreadyDone if that folder holds what these facts give, and ConfigError if it holds
    anything else.
    """
    facts = json.loads(json.dumps(facts))  # as a manifest gives them back
    existed = output is not None and Path(output).exists()
    folder = _claimed(output, name, facts)
    home = folder / DRAFT
    with locked(home):
        try:
            draft = _fresh(home, folder)
            with disk_errors_name(draft):
                yield Output(draft, folder)
            write_manifest(draft, facts, sealed(draft, draft_files(draft)))
            _publish(draft, folder)
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            if not existed and not any(folder.iterdir()):
                folder.rmdir()
            raise
        shutil.rmtree(home, ignore_errors=True)


def _claimed(output: str | None, name: str, facts: dict[str, Any]) -> Path:
    """The folder to write to, made where it was not there."""
    if output is None:
        return new_folder(output, name)
    folder = Path(output)
    # A command killed between two renames left a sealed draft: finish that before looking.
    _move_the_rest(folder, facts)
    files = _own_files(folder, facts)
    if files is None:
        return new_folder(output, name)
    missing = [name for name in files if not (folder / name).exists()]
    for name in files.keys() - missing:
        # Somebody's own edits must not be lost because the command is repeated.
        if file_sha256(folder / name) != files[name]["sha256"]:
            raise ConfigError(
                f"{folder / name} was changed since this command wrote it, and would be replaced. "
                "Choose another folder, or move it away."
            )
    if not missing:
        raise AlreadyDone(
            f"{folder} holds what this command makes, whole, so nothing was done. To make it anew, "
            "choose another folder, or move it away."
        )
    say(f"{folder} lacks {missing[0]}: the same command left it unfinished, and does it again.")
    return folder


def _move_the_rest(folder: Path, facts: dict[str, Any]) -> None:
    """Finish what the same command had all but done when it was killed."""
    home = folder / DRAFT
    for draft in home.glob("*/"):
        if _own_files(draft, facts) is not None:
            with locked(home):
                _publish(draft, folder)
                shutil.rmtree(home, ignore_errors=True)


def _own_files(folder: Path, facts: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """What the same command wrote there, by its manifest; None if it did not."""
    with suppress(CheckpointError):
        manifest = read_manifest(folder)
        if manifest["facts"] == facts:
            files: dict[str, dict[str, Any]] = manifest["files"]
            return files
    return None


def _fresh(home: Path, folder: Path) -> Path:
    """An empty draft, whose name is the folder's: reports are titled by it."""
    for old in home.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    draft = home / (folder.resolve().name or "output")
    draft.mkdir()
    return draft


def _publish(draft: Path, folder: Path) -> None:
    """Move every file to its place, the manifest last."""
    files = [path for path in draft_files(draft) if path != draft / MANIFEST]
    for file in files:
        target = folder / file.relative_to(draft)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
    for parent in {folder, *(folder / file.parent.relative_to(draft) for file in files)}:
        sync(parent)
    os.replace(draft / MANIFEST, folder / MANIFEST)
    sync(folder)
