"""What a configuration that lies in a folder may set: a run's, a bundle's, a recipe's, or that of a
folder of feedback.

Such a folder may be somebody else's. It may say what is computed, since whoever goes on with it
asks for just that. Where a job is sent, what is written or gone on with, whose code is trusted and
how many processes and threads there are is for the command line alone. Which option is which stands
at its field (whet/config/option.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from whet.config.groups import MISSING
from whet.config.option import UNCHANGED, rules_of
from whet.errors import CheckpointError, ConfigError
from whet.printable import printable

Config = TypeVar("Config")

TRUST = "model.trust_remote_code"
# What may differ when a run goes on: where things are and how fast they go, not what is computed.
# The data and the base model are held to their digests instead, wherever they lie.
MAY_DIFFER = (
    "data.path",
    "guard.data",
    "data.added",
    "model.name",
    "model.revision",
    "encode.",
    "trainer.checkpoint_",
    "trainer.log_",
)


def for_the_command_line(config: type) -> frozenset[str]:
    """The keys of a dataclass's options that no recorded configuration may set."""
    return frozenset(key for key, rules in rules_of(config).items() if not rules.recorded)


def fill(config: Any, record: Any, source: str) -> dict[str, Any]:
    """Set in `config` (a dataclass) what `record` may set: plain values, groups as mappings.

    Returns the options that are for the command line alone and that the record sets to something
    else than their default, by key; they are left as they are in `config`. Raises CheckpointError,
    which begins with `source`, for an option that is unknown or whose value is of a wrong type.
    """
    left: dict[str, Any] = {}
    _fill(config, record, source, "", left)
    return left


def as_it_was(record: Any, config: type) -> Any:
    """The record of a run that a `config` type describes; what it does not name, because there was
    no such option when it was made, is what was done then.

    >>> from whet.config import FitConfig
    >>> as_it_was({"seed": 1, "select": {"policy": "dev"}}, FitConfig)["select"]
    {'policy': 'dev', 'words': 'off'}
    >>> as_it_was({"seed": 1}, FitConfig)["select"]
    {'policy': 'last', 'words': 'off'}
    """
    if not isinstance(record, Mapping):
        return record
    named = dict(flat(record))
    whole = dict(record)
    for key, rules in rules_of(config).items():
        if rules.before is UNCHANGED or key in named:
            continue
        group, _, name = key.rpartition(".")
        if not group:
            whole[name] = rules.before
        elif isinstance(whole.get(group, {}), Mapping):
            whole[group] = {**whole.get(group, {}), name: rules.before}
    return whole


def _fill(config: Any, record: Any, source: str, prefix: str, left: dict[str, Any]) -> None:
    if not isinstance(record, Mapping):
        raise CheckpointError(
            f"{source}: {prefix.rstrip('.') or 'it'} should hold options by name. It was changed: "
            "bring back a copy."
        )
    hints, rules = get_type_hints(type(config)), rules_of(type(config))
    for name, value in record.items():
        key = f"{prefix}{name}"
        if name not in hints:
            raise CheckpointError(
                f"{source}: there is no option {printable(key)}. Another version of Whet wrote it, "
                "or it was changed: take that version, or take the option out."
            )
        current = getattr(config, name)
        if is_dataclass(current):
            _fill(current, value, source, f"{key}.", left)
        elif value != MISSING and not _fits(value, hints[name]):
            raise CheckpointError(
                f"{source}: {key} cannot be {printable(repr(value)[:60])}. It was changed: bring "
                "back a copy, or write a right value."
            )
        elif rules[name].recorded:
            setattr(config, name, value)
        elif value != current:
            left[key] = value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of an annotation's type; a whole number is a float, too."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, member) for member in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if hint in (int, float):
        return type(value) in ((int,) if hint is int else (int, float))
    return isinstance(value, hint)


def options_of(config: Any) -> Iterator[tuple[str, Any]]:
    """Every option of a configuration (a dataclass) with its value: ("mining.seed", 0), ..."""
    return flat(asdict(config))


def flat(plain: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The same of plain values: nested mappings as dotted keys.

    >>> list(flat({"seed": 0, "mining": {"backend": "auto"}}))
    [('seed', 0), ('mining.backend', 'auto')]
    """
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def deciding(config: Any) -> dict[str, Any]:
    """The options that decide what a run computes, with their values: a run that goes on has the
    same.
    """
    command_line = for_the_command_line(type(config))
    return {
        key: value
        for key, value in options_of(config)
        if key not in command_line and not key.startswith(MAY_DIFFER)
    }


def refuse_other_options(begun: Mapping[str, Any], config: Any, source: str) -> None:
    """CheckpointError, which begins with `source`, where an option that decides the result is not
    as it was when the run began: somebody changed its config.yaml since.
    """
    for key, now in deciding(config).items():
        if begun.get(key, now) != now:
            raise CheckpointError(
                f"{source} was begun with {key}={spelled_value(begun[key])}, and its config.yaml "
                f"says {spelled_value(now)} now. Set it back, or start a new run."
            )


def refuse_trust(left: Mapping[str, Any], source: str, option: str = TRUST) -> None:
    """ConfigError where a record trusts a model's code: `option` on the command line says so."""
    if left.get(TRUST):
        raise ConfigError(
            f"{source} trusts code that comes with a model, and that is for the command line "
            f"alone. If you trust it, add {option}=true."
        )


def spelled_value(value: Any) -> str:
    """A value as one would type it.

    >>> spelled_value(None), spelled_value(True), spelled_value(0.05)
    ('null', 'true', '0.05')
    """
    words = {None: "null", True: "true", False: "false"}
    plain = value is None or isinstance(value, bool)
    return words[value] if plain else printable(value)


def spelled_record(config: Any) -> str:
    """What a record set, in one line: the data, the model and every option not at its default."""
    standard, command_line = dict(options_of(type(config)())), for_the_command_line(type(config))
    return ", ".join(
        f"{key}={spelled_value(value)}"
        for key, value in options_of(config)
        if key not in command_line
        and (key in ("data.path", "model.name") or value != standard[key])
    )
