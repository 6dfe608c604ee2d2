"""What of a run, and of what it was made from, is copied into a bundle: files that are listed
somewhere with their hash, and nothing that only lies beside them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from whet.bundle.contents import contents_of
from whet.bundle.facts import Facts
from whet.bundle.making.licences import Licence
from whet.bundle.making.openness import CODE_LICENCE, may_pass_on
from whet.bundle.names import clash, is_beside_data, refusal
from whet.bundle.schema import BASE, CODE, DATA
from whet.config import BundleConfig, ModelConfig
from whet.data.readers.detect import find_source
from whet.errors import ConfigError, DataError
from whet.model.folder import find_folder
from whet.printable import printable
from whet.progress import say
from whet.run.checkout import code_folder
from whet.storage.commit import MANIFEST, file_sha256, verify_folder
from whet.storage.places import user_path
from whet.storage.readable import readable_json

KEPT = ("metrics.json", "per_query.jsonl", "train_log.jsonl")  # ids and numbers, no texts
NOT_COPIED = ("README.md", MANIFEST)  # the bundle has a card and a record of its own

Copies = list[tuple[Path, str]]  # a file, and its name in the bundle


def copies_of(facts: Facts, config: BundleConfig, licences: dict[str, Licence]) -> Copies:
    """What is copied as it is.

    ConfigError for options that cannot be, and for a link or a name that leads out of its folder;
    CheckpointError for a damaged model; DataError where inputs have changed since the run.
    """
    unknown = [name for name in config.include if name not in (DATA, BASE, CODE)]
    if unknown:
        raise ConfigError(f"include={unknown[0]} is unknown. It takes data, base and code.")
    copies = _of_the_run(facts)
    if DATA in config.include:
        _may_include(DATA, "data_licence", licences["training data"])
        copies += _data_copies(facts)
    if BASE in config.include:
        _may_include(BASE, "base_licence", licences["base weights"])
        copies += _base_copies(facts)
    if CODE in config.include:
        assert may_pass_on(CODE_LICENCE)
        for name, digest in facts.origin["code"]["files"].items():
            package, _, inner = name.partition("/")
            copies += _checked(code_folder(package), inner, digest, f"{CODE}/{name}")
    # Names that differ in case alone are one file on macOS and Windows.
    pair = clash(name for _, name in copies)
    if pair is not None:
        raise ConfigError(
            f"{printable(pair[0])} and {printable(pair[1])} would be one file on some systems. "
            "Rename one, and run the fit again."
        )
    return copies


def model_copies(facts: Facts) -> Copies:
    """The model by its manifest, without its card; what else lies there is told and left."""
    model = facts.folder / "model"
    verify_folder(model)
    listed = readable_json(model / MANIFEST, remedy="Run the fit again.")["files"]
    names = [name for name in sorted(listed) if name not in NOT_COPIED]
    copies = [(_own(model, name), name) for name in names]
    there = contents_of(model)
    strays = {*there.files, *there.odd} - {*listed, MANIFEST}
    if strays:
        few = ", ".join(map(printable, sorted(strays)[:5]))
        say(f"Not published, since the run did not write it: {few} in {model}.")
    return copies


def _of_the_run(facts: Facts) -> Copies:
    """The model, negatives and logs."""
    copies, negatives = model_copies(facts), facts.folder / "negatives"
    for path in sorted(negatives.glob("step_*.parquet")):
        copies.append((_own(negatives, path.name), f"training/negatives/{path.name}"))
    return [*copies, *((_own(facts.folder, name), f"training/{name}") for name in KEPT)]


def _own(root: Path, name: str) -> Path:
    """A file of the run, which the run wrote: no link, and no name that leads out."""
    path = root / _inside(root, name)
    parts = [path, *path.parents][: len(Path(name).parts)]
    if any(part.is_symlink() for part in parts) or not path.is_file():
        raise ConfigError(
            f"{printable(path)} is a link, or no file, and no run writes such: nothing is "
            "published of a folder that was changed. Run the fit again."
        )
    return path


def _inside(root: Path, name: str) -> str:
    reason = refusal(name)
    if reason is not None:
        raise ConfigError(
            f"{printable(root)}: the name '{printable(name)}' {reason}, and cannot be published. "
            "Rename the file, or leave it out, and run the fit again."
        )
    return name


def _may_include(part: str, option: str, licence: Licence) -> None:
    if may_pass_on(licence.expression):
        return
    reason = (
        f"its licence is unknown ({licence.source})"
        if licence.expression is None
        else f"{licence.expression} is not known to permit passing it on"
    )
    raise ConfigError(
        f"include={part}: {reason}. Leave it out, or if you know better say {option}=SPDX."
    )


def _data_copies(facts: Facts) -> Copies:
    """The data's files, and those beside them that state their licence."""
    data = facts.origin["data"]
    if data["hub"]:
        raise ConfigError(
            "include=data: these data are the hub's, and no files of ours. Leave it out: they are "
            "referenced by name."
        )
    path = user_path(facts.private["data"]["path"])
    root = find_source(str(path)).root
    files = {file["name"]: file["sha256"] for file in data["files"]}
    beside = sorted(root.iterdir()) if path.is_dir() else []
    stated = [
        entry.name
        for entry in beside
        if entry.is_file() and is_beside_data(entry.name, data["kind"])
    ]
    extra = [(_stays(root, root / name), f"{DATA}/{name}") for name in stated if name not in files]
    return [*_unchanged(DATA, root, files), *extra]


def _base_copies(facts: Facts) -> Copies:
    model = facts.private["model"]
    root = find_folder(ModelConfig(name=model["name"], revision=model.get("revision")))
    files = {name: about["sha256"] for name, about in facts.origin["model"]["files"].items()}
    return _unchanged(BASE, root, files)


def _unchanged(kind: str, root: Path, files: dict[str, str]) -> Copies:
    copies: Copies = []
    for name, digest in files.items():
        copies += _checked(root, name, digest, f"{kind}/{name}")
    return copies


def _checked(root: Path, name: str, digest: str, target: str) -> Copies:
    path = _stays(root, root / _inside(root, name))
    if not path.is_file() or file_sha256(path) != digest:
        raise DataError(
            f"{printable(path)} has changed since the run: {printable(name)} is not what the model "
            f"was made from. Restore it, or leave {target.partition('/')[0]} out of include."
        )
    return [(path, target)]


def _stays(root: Path, path: Path) -> Path:
    """The path, if no link leads out of the folder; the hub's cache links to its own blobs."""
    place = root.resolve()
    homes = [place, place.parent.parent / "blobs"] if place.parent.name == "snapshots" else [place]
    if not any(path.resolve().is_relative_to(home) for home in homes):
        raise ConfigError(
            f"{printable(path)} is a link to a file elsewhere, which may be private. Put the file "
            f"itself there, or leave {printable(root.name)} out of include."
        )
    return path


def write_copies(copies: Iterable[tuple[Path, str]], draft: Path) -> None:
    """Copy the files into a draft."""
    for path, name in copies:
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
