"""What a user can set, as two files: `make options` writes them, test_options.py compares.

tests/house/options.txt is the frozen list, and says of each option who may set it; docs/options.md
is for people.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from source import ROOT

from whet_launch.cli.verbs import VERBS, Verb
from whet_launch.options.catalogue import Option, OptionGroup, groups_of, keys_of

LIST = ROOT / "tests" / "house" / "options.txt"
PAGE = ROOT / "docs" / "options.md"
HEAD = """\
# Every option

Made from the code by `make options`; `whet VERB --help` shows those of one verb. On the command
line an option is `key=value`. From Python it is a keyword, and groups are dicts:
`whet.fit("my/data", mining={"num_negatives": 2})`. A group also takes the name of a YAML file
(`mining=naive`), which sets several of its options.

An option marked * is for the command line alone: a folder that holds a configuration (a run, a
bundle, recipes) cannot set it.
"""
TYPES = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
TYPES |= {"list[str]": "list of texts", "list[int]": "list of whole numbers"}
TYPES |= {"list[float]": "list of numbers"}


def frozen_list() -> str:
    """Keys of groups once, keys of a verb's top level under its name; with who may set them."""
    lines: dict[str, None] = {}
    for verb in VERBS.values():
        for group in groups_of(verb.config):
            for option in group.options:
                key = option.key if group.name else f"{verb.name}: {option.key}"
                lines[key if option.rules.recorded else f"{key} (command line alone)"] = None
    return "".join(f"{line}\n" for line in lines)


def page() -> str:
    """A table a group, then those of options that belong to no group."""
    parts: list[str] = [HEAD]
    found: dict[tuple[Option, ...], tuple[OptionGroup, list[Verb]]] = {}
    for verb in VERBS.values():
        for group in groups_of(verb.config):
            found.setdefault(tuple(group.options), (group, []))[1].append(verb)
    named = [(group, verbs) for group, verbs in found.values() if group.name]
    for group, verbs in named:
        bundle = any("bundle" in keys_of(verb.config) for verb in verbs)
        title = f"## {group.name}" + (" of a bundle" if bundle else "")
        files = f" YAML files: {', '.join(f'`{name}`' for name in group.choices)}."
        told = f"{group.meaning} For: {_names(verbs)}.{files if group.choices else ''}"
        parts.append(f"{title}\n\n{told}\n\n{_table(group)}")
    for group, verbs in found.values():
        if not group.name:
            parts.append(f"## Only {_names(verbs)}\n\n{_table(group)}")
    return "\n".join(parts)


def _names(verbs: list[Verb]) -> str:
    return ", ".join(f"`whet {verb.spelled}`" for verb in verbs)


def _table(group: OptionGroup) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in _rows(group))


def _rows(group: OptionGroup) -> Iterator[tuple[str, ...]]:
    yield "option", "default", "takes", "meaning"
    yield ("---",) * 4
    for option in group.options:
        key = f"`{option.key}`" + ("" if option.rules.recorded else " *")
        default = "required" if option.default == "???" else f"`{option.default}`"
        meaning = option.rules.meaning.replace("<", "&lt;").replace("|", "\\|")
        yield key, default if option.default else "", _takes(option), meaning


def _takes(option: Option) -> str:
    rules, (kind, _, null) = option.rules, option.kind.partition(" or ")
    told = TYPES[kind]
    if rules.choices:
        told = ", ".join(f"`{choice}`" for choice in rules.choices)
    elif rules.least is not None and rules.least > -math.inf:
        upper = "or more" if rules.most == math.inf else f"to {rules.most:g}"
        told += f", {rules.least:g} {upper}"
    return f"{told}; null" if null else told


if __name__ == "__main__":
    LIST.write_text(frozen_list(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
