"""One option, declared at its field: default, meaning, which values it takes, who may set it.

    max_length: Optional[int] = option(None, "tokens a text is cut to; null: all", least=1)

Help texts, checks, the table docs/options.md and what a recorded configuration may set all read
these rules; there is no second list of options to keep.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TypeVar, cast, get_type_hints

Value = TypeVar("Value")

RULES = "rules"  # their name in a field's metadata


@dataclass(frozen=True)
class Rules:
    """What holds for an option besides its type and default."""

    meaning: str
    choices: tuple[str, ...]  # empty: any value of the type
    least: float | None  # allowed itself; None: no range
    most: float  # allowed itself
    recorded: bool  # may be set by a configuration that lies in a folder
    path: bool  # names a file or folder, where ~ is the home


def option(
    default: Value,
    meaning: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float = float("inf"),
    recorded: bool = True,
    path: bool = False,
) -> Value:
    """A field of a dataclass of options; the field's annotation is its type.

    `meaning` is what `--help` says. null is allowed beside `choices` where it is the default, and
    beside a range always; `least=-math.inf` takes any number but NaN. `recorded=False` is for what
    the command line alone may say: where a job is sent, what is written, whose code is trusted, how
    many processes there are. A folder that holds a configuration may be a stranger's.
    """
    rules = {RULES: Rules(meaning, choices, least, most, recorded, path)}
    if isinstance(default, list):
        return cast(Value, field(default_factory=default.copy, metadata=rules))
    return field(default=default, metadata=rules)


def rules_of(config: type) -> dict[str, Rules]:
    """The rules of every option of a dataclass and its groups, by key: `seed`, `mining.seed`."""
    hints = get_type_hints(config)
    rules_by_key: dict[str, Rules] = {}
    for option in fields(config):
        if is_dataclass(hints[option.name]):
            inner = rules_of(cast(type, hints[option.name]))
            rules_by_key |= {f"{option.name}.{key}": rules for key, rules in inner.items()}
        else:
            rules_by_key[option.name] = cast(Rules, option.metadata[RULES])
    return rules_by_key
