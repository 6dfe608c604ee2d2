"""The options of a verb, read from whet/config/schema.py: key, default, comment."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, get_type_hints

import whet.config.schema


@dataclass(frozen=True)
class Option:
    """One key a user can set; `kind` is "int", "str or null"...; `default` as one types it."""

    key: str
    kind: str
    default: str
    meaning: str


@dataclass(frozen=True)
class OptionGroup:
    """The options under one name ("" for the top level) and the YAML files for all of them."""

    name: str
    meaning: str
    choices: list[str]
    options: list[Option]


@functools.cache
def groups_of(config: type) -> list[OptionGroup]:
    """The groups of a verb's dataclass in the order written, the top level last."""
    hints = get_type_hints(config)
    groups, top = [], []
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(hints[field.name]):
            groups.append(_group(field.name, hints[field.name]))
        else:
            top.append(_option(config, field, ""))
    return [*groups, OptionGroup("", "The job itself.", [], top)]


def keys_of(config: type) -> dict[str, Option]:
    """Every key of a verb that takes a value of its own: `mining.relative_margin`, `seed`, ..."""
    options = [option for group in groups_of(config) for option in group.options]
    return {option.key: option for option in options}


def group_names(config: type) -> list[str]:
    """The names that stand for a YAML file of a verb: `mining` in `mining=naive`."""
    names = [f.name for f in dataclasses.fields(config) if (conf() / f.name).is_dir()]
    recipes = config in (whet.config.schema.FitConfig, whet.config.schema.EvalConfig)
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


def conf() -> Any:
    """The folder of the YAML groups."""
    return files("whet_conf")


def _group(name: str, config: type) -> OptionGroup:
    choices = choices_of(name) if (conf() / name).is_dir() else []
    options = [_option(config, field, f"{name}.") for field in dataclasses.fields(config)]
    return OptionGroup(name, inspect.cleandoc(config.__doc__ or ""), choices, options)


def _option(config: type, field: dataclasses.Field[Any], prefix: str) -> Option:
    annotation, comment = _written()[config.__name__, field.name]
    kind = annotation.replace("Optional[", "").replace("]", "") if "Optional" in annotation else ""
    return Option(
        prefix + field.name, f"{kind} or null" if kind else annotation, _default(field), comment
    )


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        return "[" + ",".join(str(item) for item in value) + "]"
    if isinstance(field.default, str):
        return field.default
    return json.dumps(field.default)


@functools.cache
def _written() -> dict[tuple[str, str], tuple[str, str]]:
    """(class, field) -> (annotation, comment beside it), from whet/config/schema.py."""
    source = inspect.getsource(whet.config.schema)
    lines = source.splitlines()
    written = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.AnnAssign):
                    comment = lines[part.lineno - 1].partition("  # ")[2]
                    written[node.name, ast.unparse(part.target)] = (
                        ast.unparse(part.annotation),
                        comment.strip(),
                    )
    return written
