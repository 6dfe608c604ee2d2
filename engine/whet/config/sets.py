"""Several data sets in one fit: how `data=[a,b]` is spelled, and what cannot go together yet."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence

from whet.config.groups import DataConfig
from whet.config.verbs import FitConfig
from whet.errors import ConfigError
from whet.printable import printable


def paths_of(path: str) -> list[str]:
    """The paths that a `data.path` names: those of a list, else the one that it is.

    >>> paths_of("[./a, ./b]"), paths_of('["./a,b",c]'), paths_of("./a")
    (['./a', './b'], ['./a,b', 'c'], ['./a'])
    """
    if not (path.startswith("[") and path.endswith("]")) or os.path.exists(path):
        return [path]
    items = next(csv.reader([path[1:-1]], skipinitialspace=True), [])
    return [os.path.expanduser(item.strip()) for item in items] or [path]


def listed(paths: Sequence[str]) -> str:
    """Some paths as one `data.path`.

    >>> listed(["./a,b", "c"])
    '["./a,b",c]'
    """
    if len(paths) == 1:
        return paths[0]
    return "[" + ",".join(f'"{path}"' if "," in path else path for path in paths) + "]"


def refuse_several(config: DataConfig) -> None:
    """ConfigError where one data set is needed and several are named, or weights for one."""
    paths = paths_of(config.path)
    if config.path != paths[0]:
        raise ConfigError(
            f"data={printable(config.path)} names several data sets: fit, check and plan take them "
            f"together, and this takes one. Give one of them, such as data={printable(paths[0])}"
        )
    if config.weights:
        raise ConfigError(
            f"data.weights={config.weights} mixes several data sets, and data="
            f"{printable(config.path)} is one. Leave it out, or name them all: data=[a,b]"
        )


def check_weights(config: DataConfig) -> None:
    """ConfigError for weights that are not one positive number for each of several data sets."""
    paths, weights = paths_of(config.path), config.weights
    if weights and len(weights) != len(paths):
        raise ConfigError(
            f"data.weights={weights} has {len(weights)} numbers for {len(paths)} data sets. Give "
            "one for each, in their order, or none: then each counts by its training pairs."
        )
    for path, weight in zip(paths, weights, strict=False):
        if not (weight > 0 and math.isfinite(weight)):
            raise ConfigError(
                f"data.weights has {weight:g} for {printable(path)}. A weight is a number above 0; "
                "a set that nothing is to be learned from is left out of data=, or is guard.data."
            )


def check_sets(config: FitConfig) -> None:
    """ConfigError for several data sets with what one alone can have, before anything is read."""
    if config.data.path == paths_of(config.data.path)[0]:
        refuse_several(config.data)
        return
    check_weights(config.data)
    refresh = config.refresh.policy
    by_data = config.loss.name != "infonce" and config.distill.teacher is None
    for given, option, remedy in (
        (config.data.added is not None, "data.added", "Add its judgments to one set's files"),
        (config.budget is not None, f"budget={config.budget}", "Set trainer.max_steps"),
        (refresh in ("overlap", "continuous"), f"refresh={refresh}", "Use refresh=steps or epoch"),
        (config.encode.precision == "int8", "encode.precision=int8", "Leave it out"),
        (by_data, f"loss={config.loss.name} by scores in the data", "Name distill.teacher=MODEL"),
    ):
        if given:
            raise ConfigError(
                f"{option} does not go with several data sets yet. {remedy}, or fit one set alone."
            )
