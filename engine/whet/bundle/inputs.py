"""Where the inputs of a bundle are on this machine: its data, base model and code."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import whet
from whet.bundle.provenance import BASE, DATA, about_input, made_by
from whet.config import ModelConfig
from whet.errors import DataError
from whet.model.folder import MINILM_PACKAGE, find_folder
from whet.origin import OURS, code_folder, commit_here


def data_root(bundle: Path, given: str | None) -> Path | None:
    """The folder that the data's files lie in: the one given, else the bundle's copy, else None."""
    if given is None:
        copy = bundle / DATA
        return copy if copy.is_dir() else None
    path = Path(given).expanduser()
    if not path.exists():
        raise DataError(f"data={given}: no such file or folder. Check the path, or leave it out.")
    return path.parent if path.is_file() else path


def data_path(bundle: Path, statement: dict[str, Any], given: str | None) -> str | None:
    """What a fit is told as data.path; None where the data are not here."""
    if given is not None:
        return given
    about = about_input(statement, DATA)
    copy = bundle / DATA
    if copy.is_dir():
        return str(copy / about["file"] if about["file"] else copy)
    return about["hub"]


def base_root(bundle: Path, statement: dict[str, Any], given: str | None) -> Path | None:
    """The folder of the base model: the one given, else the bundle's copy, else the package or the
    hub's cache where it is installed here; None where it is not.
    """
    if given is not None:
        return find_folder(ModelConfig(name=given))
    if (bundle / BASE).is_dir():
        return bundle / BASE
    about = about_input(statement, BASE)
    if about["package"]:
        return find_folder(ModelConfig()) if find_spec(MINILM_PACKAGE) else None
    return None if about["local"] else _cached(about["name"], about["revision"])


def _cached(name: str, revision: str | None) -> Path | None:
    """A model of the hub that was fetched before; nothing is fetched now."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # the hub client raises a dozen unrelated types for what is not there
        return None


def code_roots(statement: dict[str, Any]) -> dict[str, Path]:
    """Our packages here by name, where they are of the version and commit that made the bundle."""
    version, commit = made_by(statement)
    here = commit_here()
    if version != whet.__version__ or (commit and here and commit != here):
        return {}
    return {package: code_folder(package) for package in OURS if find_spec(package)}
