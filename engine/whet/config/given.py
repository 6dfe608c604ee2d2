"""Options given from Python, as dicts and values."""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from whet.config.option import rules_of
from whet.errors import ConfigError

Config = TypeVar("Config")


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
        setattr(config, name, value)
    return config
