"""A configuration as the words of a command line that gives exactly it, for another machine."""

from __future__ import annotations

import os
import re
import shlex
from functools import reduce
from typing import Any

from whet.config import FitConfig
from whet.errors import ConfigError
from whet_launch.options.catalogue import keys_of

SECRET = re.compile(r"token|key|secret|password", re.IGNORECASE)
PLAIN = re.compile(r"[A-Za-z/][\w./@:-]*")  # text that needs no quotes
READ_OTHERWISE = {"null", "true", "false", "inf", "nan"}
SHORTEST_SECRET = 8  # characters; `HF_TOKEN=1` is none


def changed_options(config: FitConfig, but: dict[str, Any]) -> list[str]:
    """`key=value` for every option that is not at its default; those in `but` as said there.

    >>> changed_options(FitConfig(seed=3), {"output": "/runs/a b"})
    ['seed=3', "output='/runs/a b'"]
    """
    standard, words = FitConfig(), []
    for key in keys_of(FitConfig):
        value = but.get(key, _value(config, key))
        if value != _value(standard, key):
            words.append(f"{key}={spelled(value)}")
    return words


def as_typed(word: str) -> str:
    """A word as a person types it into a shell, quoted once where it holds quotes of its own.

    >>> print(as_typed("seed=3"), as_typed("launch.address='10.0.0.2:6379'"))
    seed=3 "launch.address='10.0.0.2:6379'"
    """
    if "'" in word and not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return shlex.quote(word)


def refuse_secrets(words: list[str]) -> None:
    """ConfigError if a word holds the value of an environment variable that is a secret by its
    name: commands are shown in logs and on the cluster's page.
    """
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= SHORTEST_SECRET and not os.path.exists(value):
            for word in words:
                if value in word:
                    raise ConfigError(
                        f"{word.partition('=')[0]} holds the value of ${name}, and everybody who "
                        "sees the cluster would see it. Set that variable on the cluster's nodes."
                    )


def _value(config: Any, key: str) -> Any:
    return reduce(getattr, key.split("."), config)


def spelled(value: Any) -> str:
    """A value as Hydra reads it.

    >>> spelled([1, 2]), spelled(None), spelled("a b")
    ('[1,2]', 'null', "'a b'")
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(spelled(item) for item in value) + "]"
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and value not in READ_OTHERWISE else quoted(value)
    return repr(value)


def quoted(text: str) -> str:
    r"""Text in Hydra's quotes.

    >>> print(quoted("it's"))
    'it\'s'
    """
    # Hydra: a quote is escaped by \, and a run of \ before a quote or the end is doubled
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"
