"""The working folder as one zip file for a cluster: what git would take, and no secrets."""

from __future__ import annotations

import os
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whet.errors import ConfigError, EnvironmentRefused
from whet.printable import printable
from whet_launch.remote.secret_files import begins_like_a_key, is_secret_name

MOST_BYTES = 100 * 2**20
EPOCH = (1980, 1, 1, 0, 0, 0)  # equal files give equal zips, which Ray uploads once
IGNORE = (".rayignore", ".whetignore")  # beside git's own files, and with their rules
NAMED = 8  # of what stays here, in the line before sending


@dataclass(frozen=True)
class Packing:
    """What of a folder is sent, and what stays here and why; paths from the folder, sorted.

    `ignored` are the files and folders that ignore files name, `repositories` those folders that
    are git repositories of their own, `strays` links that lead out of the folder.
    """

    folder: Path
    sizes: dict[str, int]  # bytes of each file that is sent
    secrets: list[str]
    repositories: list[str]
    strays: list[str]
    ignored: list[str]

    def summary(self) -> str:
        """A line on what is sent, and one for each reason that something stays here."""
        total = _size(sum(self.sizes.values()))
        lines = [f"Sending {len(self.sizes):,} file{'s' * (len(self.sizes) != 1)}, {total}."]
        stays = {
            "keys or credentials": self.secrets,
            "repositories of their own": self.repositories,
            "links that lead elsewhere": self.strays,
            ".gitignore, .rayignore or .whetignore": self.ignored,
        }
        for why, names in stays.items():
            if names:
                verb = "stays" if len(names) == 1 else "stay"
                lines.append(f"{len(names):,} {verb} here ({why}): {_named(names)}.")
        return "\n".join(lines)

    def listing(self) -> str:
        """Every file with its bytes, everything that stays, and the summary."""
        rows = [f"{size:>13,}  {printable(path)}" for path, size in self.sizes.items()]
        stays = [*self.secrets, *self.repositories, *self.strays, *self.ignored]
        rows += [f"{'stays here':>13}  {printable(path)}" for path in sorted(stays)]
        return "\n".join([*rows, self.summary().replace("Sending", "To be sent:", 1)])


def look_through(folder: Path) -> Packing:
    """What would be sent of a folder. Raises ConfigError for a name that a zip cannot hold."""
    # one listing each: of several --exclude-per-directory git heeds the last
    rules = ["--exclude-standard", *(f"--exclude-per-directory={name}" for name in IGNORE)]
    listed = set.intersection(*(_listed(folder, [rule]) for rule in rules))
    root = folder.resolve()
    repositories = {path for path in listed if path.endswith("/")}
    files = {path for path in listed - repositories if (folder / path).is_file()}
    strays = {path for path in files if not (folder / path).resolve().is_relative_to(root)}
    secrets = {path for path in files - strays if _is_secret(folder, root, path)}
    sent = sorted(files - strays - secrets)
    _check_names(sent)
    ignored = set.union(*(_listed(folder, ["--ignored", "--directory", rule]) for rule in rules))
    return Packing(
        folder,
        {path: (folder / path).stat().st_size for path in sent},
        sorted(secrets),
        sorted(repositories),
        sorted(strays),
        sorted(ignored),
    )


def pack(packing: Packing, target: Path) -> None:
    """Write what is sent to a zip file.

    Raises ConfigError when it is over 100 MB, with the biggest files.
    """
    sizes = packing.sizes
    if sum(sizes.values()) > MOST_BYTES:
        biggest = sorted(sizes, key=lambda path: -sizes[path])[:3]
        named = ", ".join(f"{printable(path)} ({_size(sizes[path])})" for path in biggest)
        raise ConfigError(
            f"{packing.folder} holds {_size(sum(sizes.values()))} to send, and 100 MB is the most; "
            f"the biggest are {named}. Name them in .whetignore, and put data on storage that the "
            "cluster sees."
        )
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sizes:
            file = packing.folder / path
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = file.stat().st_mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())


def files_of(folder: Path) -> list[str]:
    """The files to send, as paths from `folder`, sorted."""
    return list(look_through(folder).sizes)


def _is_secret(folder: Path, root: Path, path: str) -> bool:
    """By its name, by that of the file it links to, or by its first bytes."""
    behind = (folder / path).resolve().relative_to(root).as_posix()
    return is_secret_name(path) or is_secret_name(behind) or begins_like_a_key(folder / path)


def _check_names(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"the name of {printable(path)} is not UTF-8, and a zip file takes no other. "
                "Rename that file, or name it in .whetignore."
            ) from error


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"


def _named(names: list[str]) -> str:
    listed = ", ".join(printable(name) for name in names[:NAMED])
    return listed if len(names) <= NAMED else f"{listed} and {len(names) - NAMED:,} more"


def _listed(folder: Path, options: list[str]) -> set[str]:
    """The files that git would take under these rules, of whatever repository they are, or those
    it would not (--ignored). A repository inside is one entry that ends with `/`.
    """
    # a hook that runs us, say, leaves variables that name its own index
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    with tempfile.TemporaryDirectory(prefix="whet_") as scratch:
        git = ["git", f"--git-dir={scratch}/git", f"--work-tree={folder}"]
        init = ["git", "init", "-q", "--bare", "--template=", f"{scratch}/git"]
        try:
            subprocess.run(init, env=environment, check=True)
            listed = subprocess.run(
                [*git, "ls-files", "-z", "--others", *options],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise EnvironmentRefused(
                "launch=job packs this folder with git's rules, and git does not run here. "
                "Install git."
            ) from error
    return {os.fsdecode(name) for name in listed.split(b"\0") if name}
