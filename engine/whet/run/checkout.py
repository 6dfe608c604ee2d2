"""The git checkout our code runs from, where it is one and not an installed copy.

It is read without importing anything heavy: `whet --version` asks for the commit, too.
"""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import whet

OURS = ("whet", "whet_kernels", "whet_launch", "whet_conf")


def code_folder(package: str) -> Path:
    """Where one of our packages lies here."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def commit_here() -> str | None:
    """The commit of the checkout our code runs from; None where it is installed, or git is not."""
    return _git("rev-parse", "HEAD").strip() or None


def diff_here() -> str:
    """What of our packages differs from the commit; empty where nothing does, or none is known."""
    return _git("diff", "--no-ext-diff", "--no-textconv", "HEAD", "--", *_folders())


def new_files_here() -> int:
    """How many files of our packages no commit has and git does not ignore."""
    return len(_git("ls-files", "--others", "--exclude-standard", "--", *_folders()).splitlines())


def is_checkout() -> bool:
    """Whether our code runs from a checkout."""
    return _checkout() is not None


def _checkout() -> Path | None:
    root = Path(whet.__file__).parents[2]
    return root if (root / ".git").exists() and (root / "pyproject.toml").is_file() else None


def _folders() -> list[str]:
    return [str(code_folder(package)) for package in OURS]


def _git(*words: str) -> str:
    """What git answers; empty where there is no checkout or no git, or it is slow."""
    checkout = _checkout()
    if checkout is None:
        return ""
    command = ["git", "-C", str(checkout), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout
