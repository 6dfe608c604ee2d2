"""The working folder as one zip file for a cluster: what git would take, and no secrets."""

from __future__ import annotations

import os
import subprocess
import tempfile
import zipfile
from pathlib import Path

from whet.errors import ConfigError, EnvironmentRefused

MOST_BYTES = 100 * 2**20
NEVER = (".env", ".env.*", "*.pem", "*.key", ".netrc")  # secrets, as they are often kept
EPOCH = (1980, 1, 1, 0, 0, 0)  # equal files give equal zips, which Ray uploads once


def pack(folder: Path, target: Path) -> None:
    """Write the files of `folder` that neither .gitignore nor .rayignore name to a zip file.

    Raises ConfigError when they are over 100 MB, with the biggest of them.
    """
    files = files_of(folder)
    sizes = {path: (folder / path).stat().st_size for path in files}
    if sum(sizes.values()) > MOST_BYTES:
        biggest = sorted(files, key=lambda path: -sizes[path])[:3]
        named = ", ".join(f"{path} ({sizes[path] / 2**20:,.0f} MB)" for path in biggest)
        raise ConfigError(
            f"{folder} holds {sum(sizes.values()) / 2**20:,.0f} MB to send, and 100 MB is the "
            f"most; the biggest are {named}. Name them in .rayignore, and put data on storage that "
            "the cluster sees."
        )
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = (folder / path).stat().st_mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, (folder / path).read_bytes())


def files_of(folder: Path) -> list[str]:
    """The files to send, as paths from `folder`, sorted. Links that lead out of it are left out."""
    ray = ["--exclude-per-directory=.rayignore", *(f"--exclude={name}" for name in NEVER)]
    found = _listed(folder, ["--exclude-standard"]) & _listed(folder, ray)
    root = folder.resolve()
    return sorted(
        path
        for path in found
        if (folder / path).is_file() and (folder / path).resolve().is_relative_to(root)
    )


def _listed(folder: Path, excludes: list[str]) -> set[str]:
    """The files that git would take under these rules, of whatever repository they are."""
    with tempfile.TemporaryDirectory(prefix="whet_") as scratch:
        git = ["git", f"--git-dir={scratch}/git", f"--work-tree={folder}"]
        try:
            subprocess.run(["git", "init", "-q", "--bare", f"{scratch}/git"], check=True)
            listed = subprocess.run(
                [*git, "ls-files", "-z", "--others", *excludes],
                cwd=folder,
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise EnvironmentRefused(
                "launch=job packs this folder with git's rules, and git does not run here. "
                "Install git."
            ) from error
    return {os.fsdecode(name) for name in listed.split(b"\0") if name}
