"""Folders that are whole or absent: the commit protocol of every checkpoint, segment and model.

Files are written to `NAME.tmp` and synced, `manifest.json` with each file's size and sha256 is
written last, and one rename makes the folder appear. What a reader opens it verifies first; what
does not verify is never used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from whet.errors import CheckpointError
from whet.processes.world import barrier, from_leader, gathered, together, world
from whet.storage.disk import disk_errors_name

MANIFEST = "manifest.json"


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with disk_errors_name(path):
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the yielded draft; at the end of the block it becomes `path` at once, synced, or
    never.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors_name(path):
            yield draft
            sync(draft)
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)  # half of it would keep a full disk full
    sync(path.parent)


def write_atomically(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write a file that is either as before or wholly new, also after a power cut. A `private` one
    is its owner's alone to read.
    """
    with whole_file(path) as draft:
        mode = 0o600 if private else 0o666
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def commit_folder(target: Path, facts: dict[str, Any] | None = None) -> Iterator[Path]:
    """Fill the yielded draft folder; it becomes `target` at the end of the block, or not at all.

    `facts` go into the manifest. An existing `target` is replaced.
    """
    draft = _fresh_draft(target)
    with disk_errors_name(draft):
        yield draft
    files = draft_files(draft)
    _publish(draft, target, sealed(draft, files), facts)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """The same without a manifest, for a folder that has a record of its own; `target` must not be
    there.
    """
    draft = _fresh_draft(target)
    with disk_errors_name(draft):
        yield draft
    for file in draft_files(draft):
        sync(file)
    os.rename(draft, target)
    sync(target.parent)


@contextmanager
def commit_together(target: Path, facts: dict[str, Any] | None = None) -> Iterator[Path]:
    """`commit_folder` by all processes of a job at once: each may write files into the draft, which
    is on storage they all see, and each seals its share of them.
    """
    draft = from_leader(lambda: _fresh_draft(target))
    with disk_errors_name(draft):
        yield draft
    barrier()
    files = together(lambda: draft_files(draft))
    own = files[world().rank :: world().size]
    parts = gathered(together(lambda: sealed(draft, own)))
    merged = {name: digest for part in parts for name, digest in part.items()}
    from_leader(lambda: _publish(draft, target, merged, facts))


def _fresh_draft(target: Path) -> Path:
    draft = target.with_name(target.name + ".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def draft_files(draft: Path) -> list[Path]:
    """Every file in a draft, sorted."""
    return sorted(path for path in draft.rglob("*") if path.is_file())


def sealed(draft: Path, files: list[Path]) -> dict[str, dict[str, Any]]:
    """Sync the files, readable by whom the umask says; the bytes and sha256 of each."""
    digests = {}
    mode = _mode_of_a_new_file(draft)
    for file in files:
        # safetensors writes for the owner alone: a server that runs as another user is to read it
        if stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)
        sync(file)
        name = file.relative_to(draft).as_posix()
        digests[name] = {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
    return digests


def _mode_of_a_new_file(folder: Path) -> int:
    """The permissions that a new file gets there, by umask or by the folder's own rules. The umask
    itself cannot be read without changing it for all threads.
    """
    probe = folder / f".{uuid4().hex}.tmp"
    handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
        probe.unlink()


def _publish(
    draft: Path, target: Path, files: dict[str, dict[str, Any]], facts: dict[str, Any] | None
) -> None:
    """The manifest last, then one rename."""
    write_manifest(draft, facts or {}, files)
    if target.exists():
        shutil.rmtree(target)
    os.rename(draft, target)
    sync(target.parent)


def write_manifest(draft: Path, facts: dict[str, Any], files: dict[str, dict[str, Any]]) -> None:
    """Say what the files are that a draft holds, as `sealed` gives them."""
    write_atomically(draft / MANIFEST, _manifest(facts, dict(sorted(files.items()))))


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Sync all files of a folder and write its manifest, with `facts`, last of all: what
    `verify_folder` checks. For a folder that appears by a rename of the caller's.
    """
    write_manifest(folder, facts, sealed(folder, draft_files(folder)))


def _manifest(facts: dict[str, Any], files: dict[str, dict[str, Any]]) -> str:
    """Its text, which ends with the sha256 of what stands before."""
    content = {"facts": facts, "files": files}
    own = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "sha256": own}, indent=1)


def read_manifest(folder: Path) -> dict[str, Any]:
    """`facts` and `files` as the manifest of a folder says them; CheckpointError where there is
    none, or a damaged one.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest: dict[str, Any] = json.loads(text)
        whole = text == _manifest(manifest["facts"], manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{folder} has no readable manifest; it was not finished.") from error
    if not whole:
        raise CheckpointError(f"{folder / MANIFEST} is damaged: it is not as it was written.")
    return manifest


def verify_folder(folder: Path) -> dict[str, Any]:
    """Check every file against the manifest and return its facts; CheckpointError names the first
    bad file.
    """
    manifest = read_manifest(folder)
    facts: dict[str, Any] = manifest["facts"]
    for name, recorded in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing, though the manifest lists it.")
        if path.stat().st_size != recorded["bytes"] or file_sha256(path) != recorded["sha256"]:
            raise CheckpointError(
                f"{path} is damaged: its bytes differ from the manifest's sha256."
            )
    return facts


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Write JSON whole or not at all; a `private` file is its owner's alone to read."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text, private=private)
