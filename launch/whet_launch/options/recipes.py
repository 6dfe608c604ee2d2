"""YAML files of a folder given by `-cd`: what they compute is theirs to say, what runs is not."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whet.errors import ConfigError
from whet.printable import printable
from whet.storage.readable import readable_text, readable_yaml

HYDRA = re.compile(r"(^|[^\w])hydra($|[^\w])")  # a key, a group, or a package: `override /hydra/x`
RUNS = re.compile(r"_target_|^\(\)$")  # what Hydra and Python's logging call as a function
FILLED_IN = re.compile(r"\$\{.*:", re.DOTALL)  # ${oc.env:HOME}: OmegaConf calls what fills it in
PACKAGE = re.compile(r"^\s*#\s*@package\b.*", re.MULTILINE)
REMEDY = "Mend the file, or take it out of the folder"


def folders_given(arguments: list[str]) -> list[Path]:
    """The folders that `-cd DIR` and `--config-dir DIR` name.

    >>> [str(folder) for folder in folders_given(["-cd", "recipes", "seed=1"])]
    ['recipes']
    """
    pairs = itertools.pairwise(arguments)
    return [Path(after) for flag, after in pairs if flag in ("-cd", "--config-dir")]


def refuse_recipes_of_hydra(arguments: list[str]) -> None:
    """ConfigError if a YAML file below a folder given by `-cd` reaches for Hydra's own settings,
    names something to call, or has a value filled in from outside of it.

    Hydra calls what its settings name while it composes, before anybody could look: so the files
    are looked through before it reads them, also those that this command would not use.
    """
    for word in arguments:
        if word.lstrip("+~").startswith("hydra.searchpath"):
            raise ConfigError(f"{printable(word)}: say -cd FOLDER for a folder of recipes.")
    for folder in folders_given(arguments):
        for path in _yaml_files(folder):
            inside = path.relative_to(folder).as_posix()
            reason = _reason(path, inside)
            if reason:
                raise ConfigError(
                    f"{printable(path)} {reason}, and a recipe is not to decide that. {REMEDY}."
                )


def _yaml_files(folder: Path) -> Iterator[Path]:
    """All below a folder, each place once: Hydra reads through links, too."""
    seen: set[str] = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if os.path.realpath(f"{place}/{name}") not in seen]
        seen |= {os.path.realpath(f"{place}/{name}") for name in inner}
        yield from (Path(place, name) for name in names if name.lower().endswith(".yaml"))


def _reason(path: Path, inside: str) -> str:
    """What a file does that it is not to; "" where it is fine."""
    text = readable_text(path, remedy=f"{REMEDY}.", error=ConfigError)
    if HYDRA.search(inside) or any(HYDRA.search(line) for line in PACKAGE.findall(text)):
        return "sets options of Hydra itself"
    record = readable_yaml(path, remedy=f"{REMEDY}.", kind=object, error=ConfigError)
    for kind, word in _words(record):
        if kind == "key" and HYDRA.search(word):
            return "sets options of Hydra itself"
        if kind == "key" and RUNS.search(word):
            return f"names something to call ({printable(word)})"
        if FILLED_IN.search(word):
            return f"has a value filled in from elsewhere ({printable(word)[:60]})"
    return ""


def _words(value: Any, kind: str = "value") -> Iterator[tuple[str, str]]:
    """Every key and every text; texts of a defaults list are keys, since they choose by name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield "key", str(key)
            yield from _words(inner, "key" if key == "defaults" else kind)
    elif isinstance(value, list):
        for item in value:
            yield from _words(item, kind)
    elif isinstance(value, str):
        yield kind, value
