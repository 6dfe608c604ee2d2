"""Where the inputs of a bundle are on this machine: its data, base model and code."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import whet.version
from whet.bundle.names import refusal
from whet.bundle.provenance import about_input, copied, made_by
from whet.bundle.schema import BASE, DATA
from whet.config import ModelConfig
from whet.data.readers.hub import NAME
from whet.errors import DataError
from whet.model.folder import PACKAGED, find_folder
from whet.printable import printable
from whet.run.checkout import OURS, code_folder, commit_here
from whet.storage.places import user_path


def data_root(bundle: Path, statement: dict[str, Any], given: str | None) -> Path | None:
    """The folder that the data's files lie in: the one given, else the bundle's copy, else None."""
    if given is None:
        return bundle / DATA if copied(statement, DATA) else None
    path = user_path(given)
    if not path.exists():
        raise DataError(f"data={given}: no such file or folder. Check the path, or leave it out.")
    return path.parent if path.is_file() else path


def data_path(bundle: Path, statement: dict[str, Any], given: str | None) -> str | None:
    """What a fit is told as data.path; None where the data are not here."""
    if given is not None:
        return given
    about = about_input(statement, DATA)
    if copied(statement, DATA):
        copy = bundle / DATA
        return str(copy / about["file"] if about.get("file") else copy)
    return _hub_name(about.get("hub"), "data", "data")


def check_base_name(statement: dict[str, Any]) -> None:
    """Refuse a base model that is neither in the bundle nor in a package, and whose name is none of
    the hub's, or one of a folder here. DataError says so.
    """
    about = about_input(statement, BASE)
    if copied(statement, BASE) or is_packaged(about) or about["local"]:
        return
    build = statement["predicate"]["buildDefinition"]
    _hub_name(about["name"], "base model", "model")
    if build["externalParameters"]["config"]["model"]["name"] != about["name"]:
        raise DataError(
            "The bundle's configuration names another base model than its inputs do. Say where it "
            "is: model=FOLDER."
        )


def _hub_name(name: str | None, what: str, option: str) -> str | None:
    """The name of something on the hub: a bundle names no folder of this machine."""
    if name is None:
        return None
    if not NAME.fullmatch(name) or refusal(name) or user_path(name).exists():
        raise DataError(
            f"The bundle names {printable(name)} as its {what} on the hub: that is no name there, "
            f"or one of a file or folder here. Say where it is: {option}=FOLDER."
        )
    return name


def base_root(bundle: Path, statement: dict[str, Any], given: str | None) -> Path | None:
    """The folder of the base model: the one given, else the bundle's copy, else the package or the
    hub's cache where it is installed here; None where it is not.
    """
    if given is not None:
        return find_folder(ModelConfig(name=given))
    if copied(statement, BASE):
        return bundle / BASE
    about = about_input(statement, BASE)
    if is_packaged(about):
        here = find_spec(PACKAGED[about["name"]]) is not None
        return find_folder(ModelConfig(name=about["name"])) if here else None
    return None if about["local"] else _cached(about["name"], about.get("revision"))


def is_packaged(about: dict[str, Any]) -> bool:
    """Whether the base model is one that a package brings; a stranger's statement may name any."""
    return bool(about.get("package")) and about["name"] in PACKAGED


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
    if version != whet.version.VERSION or (commit and here and commit != here):
        return {}
    return {package: code_folder(package) for package in OURS if find_spec(package)}
