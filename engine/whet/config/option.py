"""One option, declared at its field: default, meaning, which values it takes, who may set it.

    max_length: Optional[int] = recorded_option(None, "tokens a text is cut to; null: all", least=1)
    output: Optional[str] = option(None, "run folder")

A configuration that lies in a folder may be a stranger's. It may set what is declared by
`recorded_option`: what is computed. The rest is for the command line alone, and so is a new option
of which nobody has judged that: where a job is sent, what is written or gone on with, whose code is
trusted, how many processes and threads there are.

Help texts, checks, the table docs/options.md and what a recorded configuration may set all read
these rules; there is no second list of options to keep.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TypeVar, cast, get_type_hints

Value = TypeVar("Value")

RULES = "rules"  # their name in a field's metadata
UNCHANGED = object()  # a record of before there was the option was made with its default


@dataclass(frozen=True)
class Rules:
    """What holds for an option besides its type and default."""

    meaning: str
    choices: tuple[str, ...]  # empty: any value of the type
    least: float | None  # allowed itself; None: no range
    most: float  # allowed itself
    recorded: bool  # may be set by a configuration that lies in a folder
    path: bool  # names a file or folder, where ~ is the home
    before: object = UNCHANGED  # what a record that does not name the option was made with


def option(
    default: Value,
    meaning: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float = float("inf"),
    path: bool = False,
) -> Value:
    """A field of a dataclass of options that the command line alone may set; the field's annotation
    is its type.

    `meaning` is what `--help` says. null is allowed beside `choices` where it is the default, and
    beside a range always; `least=-math.inf` takes any number but NaN.
    """
    return _field(default, Rules(meaning, choices, least, most, False, path))


def recorded_option(
    default: Value,
    meaning: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float = float("inf"),
    path: bool = False,
    before: object = UNCHANGED,
) -> Value:
    """The same for an option that a recorded configuration may set, too.

    `before` is the value that stands for what was done before there was the option, where that is
    not the default: the record of a run that does not name the option means it.
    """
    return _field(default, Rules(meaning, choices, least, most, True, path, before))


def _field(default: Value, rules: Rules) -> Value:
    metadata = {RULES: rules}
    if isinstance(default, list):
        return cast(Value, field(default_factory=default.copy, metadata=metadata))
    return field(default=default, metadata=metadata)


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
