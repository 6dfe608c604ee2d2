"""Files of a bundle's models that point to others: what they point to must be listed, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from whet.bundle.contents import is_of_hubs
from whet.bundle.names import refusal
from whet.bundle.schema import CODE, DATA
from whet.errors import CheckpointError
from whet.model.parts.layout import ROUTER
from whet.storage.readable import readable_json

MODULES, INDEX = "modules.json", ".index.json"
AGAIN = "Get the bundle again."


def bad_pointers(folder: Path, names: set[str]) -> Iterator[tuple[str, str, str]]:
    """Each pointer of the listed files that leads nowhere good: the file that points, where to, and
    why that is wrong. `names` are listed and as they should be.
    """
    for name in sorted(names):
        if name.startswith((f"{DATA}/", f"{CODE}/", "training/")):
            continue  # no model is opened from these
        ending = PurePosixPath(name).name
        if ending not in (MODULES, ROUTER) and not ending.endswith(INDEX):
            continue
        try:
            targets = dict.fromkeys(_targets(folder / name))
        except CheckpointError:
            yield name, "", "cannot be read as what it is"
            continue
        for target in targets:
            reason = _wrong(name, target, names)
            if reason is not None:
                yield name, target, reason


def _targets(path: Path) -> Iterator[str]:
    """What such a file names, as it stands there."""
    if path.name == MODULES:
        for module in readable_json(path, remedy=AGAIN, kind=list):
            yield _text(path, module.get("path") if isinstance(module, dict) else None)
        return
    key = "types" if path.name == ROUTER else "weight_map"
    held = readable_json(path, remedy=AGAIN).get(key)
    if not isinstance(held, dict):
        raise CheckpointError(f"{path} has no {key}. {AGAIN}")
    for name in held if path.name == ROUTER else held.values():
        yield _text(path, name)


def _text(path: Path, value: Any) -> str:
    if not isinstance(value, str):
        raise CheckpointError(f"{path} names something that is no file. {AGAIN}")
    return value


def _wrong(name: str, target: str, names: set[str]) -> str | None:
    """Why a target is wrong; a folder may be empty, as that of a normalisation is."""
    inner = target.removeprefix("./").rstrip("/")
    if not inner and name.endswith(MODULES):
        return None
    above = name.rpartition("/")[0]
    reason = refusal(inner)
    if reason is not None:
        return reason
    whole = f"{above}/{inner}" if above else inner
    unlisted = name.endswith(INDEX) and whole not in names
    return "is not listed" if unlisted or is_of_hubs(whole) or is_of_hubs(f"{whole}/x") else None
