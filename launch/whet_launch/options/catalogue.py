"""The options of a verb as a person sees them: key, type and default as one types them, rules."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_args, get_type_hints

from whet.config import EvalConfig, FitConfig
from whet.config.option import Rules, rules_of


@dataclass(frozen=True)
class Option:
    """One key a user can set; `kind` is "int", "str or null"...; `default` as one types it."""

    key: str
    kind: str
    default: str
    rules: Rules


@dataclass(frozen=True)
class OptionGroup:
    """The options under one name ("" for the top level) and the YAML files for all of them."""

    name: str
    meaning: str
    choices: list[str]
    options: list[Option]


@functools.cache
def groups_of(config: type) -> list[OptionGroup]:
    """The groups of a verb's dataclass in the order written, the top level last if it has any."""
    hints = get_type_hints(config)
    inner = [name for name, hint in hints.items() if dataclasses.is_dataclass(hint)]
    groups, top = [_group(name, hints[name]) for name in inner], _options(config, "")
    return [*groups, OptionGroup("", "The job itself.", [], top)] if top else groups


def keys_of(config: type) -> dict[str, Option]:
    """Every key of a verb that takes a value of its own: `mining.relative_margin`, `seed`, ..."""
    options = [option for group in groups_of(config) for option in group.options]
    return {option.key: option for option in options}


def group_names(config: type) -> list[str]:
    """The names that stand for a YAML file of a verb: `mining` in `mining=naive`."""
    names = [f.name for f in dataclasses.fields(config) if (conf() / f.name).is_dir()]
    recipes = config in (FitConfig, EvalConfig)
    return [*names, "experiment"] if recipes else names


@functools.cache
def choices_of(group: str) -> list[str]:
    """The YAML files of a group, sorted, those in its folders last: `["demo", "mining/naive"]`."""
    names, folders = [], []
    for entry in (conf() / group).iterdir():
        if entry.is_dir() and not entry.name.startswith("_"):
            folders += [f"{entry.name}/{name}" for name in choices_of(f"{group}/{entry.name}")]
        elif entry.name.endswith(".yaml"):
            names.append(entry.name.removesuffix(".yaml"))
    return sorted(names) + sorted(folders)


def headline(group: str, choice: str) -> str:
    """The comment line of a YAML file after its command: what it is for."""
    lines = (conf() / group / f"{choice}.yaml").read_text(encoding="utf-8").splitlines()
    command = next(row for row, line in enumerate(lines) if line.startswith("# whet "))
    return lines[command + 1].removeprefix("# ")


def conf() -> Traversable:
    """The folder of the YAML groups."""
    return files("whet_conf")


def example(name: str) -> str:
    """The folder of data that come with Whet: in the package, or in the checkout."""
    package = Path(str(conf()))
    inside = package / "examples" / name
    return str(inside if inside.is_dir() else package.parent.parent / "examples" / name)


def _group(name: str, config: type) -> OptionGroup:
    choices = choices_of(name) if (conf() / name).is_dir() else []
    meaning = inspect.cleandoc(config.__doc__ or "")
    return OptionGroup(name, meaning, choices, _options(config, f"{name}."))


def _options(config: type, prefix: str) -> list[Option]:
    """The options of a dataclass, without those of its groups."""
    hints, rules = get_type_hints(config), rules_of(config)
    return [
        Option(prefix + field.name, _kind(hints[field.name]), _default(field), rules[field.name])
        for field in dataclasses.fields(config)
        if field.name in rules
    ]


def _kind(hint: Any) -> str:
    """An annotation as one says it: Optional[int] is "int or null"."""
    if type(None) in get_args(hint):
        return f"{_kind(get_args(hint)[0])} or null"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        return "[" + ",".join(str(item) for item in value) + "]"
    if isinstance(field.default, str):
        return field.default
    return json.dumps(field.default)
