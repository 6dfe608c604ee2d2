"""Options given from Python, as dicts and values."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from whet.config.option import rules_of
from whet.errors import ConfigError

Config = TypeVar("Config")
Function = TypeVar("Function", bound=Callable[..., Any])


def takes_options_of(config: type, but: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """A function's `**options` as keywords of its signature: the fields of a dataclass, without
    those in `but`. Editors and `help()` then show their names, types and defaults.
    """

    def named(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        standard = config()
        options = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default={} if is_dataclass(default := getattr(standard, field.name)) else default,
                annotation=str(field.type),
            )
            for field in fields(config)
            if field.name not in (*but, *signature.parameters)
        ]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *options]
        )
        return function

    return named


def configured(config: Config, options: dict[str, Any]) -> Config:
    """Set the named options, groups given as dicts. ConfigError names the nearest right name of a
    wrong one.
    """
    assert is_dataclass(config)
    names, rules = [field.name for field in fields(config)], rules_of(type(config))
    for name, value in options.items():
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Choose from {', '.join(names)}."
            raise ConfigError(f"{type(config).__name__} has no option {name!r}. {hint}")
        current = getattr(config, name)
        if is_dataclass(current) and isinstance(value, dict):
            value = configured(current, value)
        elif isinstance(value, str) and rules[name].path:
            value = os.path.expanduser(value)
        elif isinstance(current, str) and type(value) is int:
            value = str(value)  # evaluate.pool takes words and numbers
        setattr(config, name, value)
    return config
