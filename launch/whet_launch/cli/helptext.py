"""The help a person reads, made from the table of verbs and the dataclasses of options."""

from __future__ import annotations

import textwrap

from whet.bench.suites import SUITES
from whet_launch.cli.verbs import VERBS, Verb
from whet_launch.options.catalogue import OptionGroup, choices_of, group_names, groups_of, headline

WIDTH = 100


def overview() -> str:
    """What `whet --help` prints."""
    verbs = "\n".join(f"  {verb.spelled:<11} {verb.meaning}" for verb in VERBS.values())
    return f"""\
Whet makes a search model better on your documents.

usage: whet VERB [data=PATH] [option=value ...]

{verbs}

examples:
  whet check my/data             is it usable, and what is in it?
  whet fit data=my/data          train on it; the run folder holds the model and report.html
  whet fit experiment=demo       the demo, in the repository's folder
  whet fit --help                every option of a verb, with default and meaning

also:
  whet help VERB                 the same as whet VERB --help
  whet version                   versions of Whet, Python, torch and CUDA
  eval "$(whet -sc install=bash)"   completion of verbs and options (also zsh, fish)

exit codes: 0 done, 1 failed, 2 a mistake in the command, 3 the data are refused, 4 something is
missing on this machine, 130 interrupted.

environment: WHET_DEBUG=1 shows where in the code an error arose; WHET_CACHE is the folder in which
data and vectors are kept between commands.
"""


def of_verb(verb: Verb) -> str:
    """What `whet fit --help` prints: examples first, then every option by group."""
    width = max(len(command) for command, _ in verb.examples)
    examples = "\n".join(f"  {command:<{width}}  {what}" for command, what in verb.examples)
    data = "data=PATH " if "data" in group_names(verb.config) else ""
    parts = [
        f"whet {verb.spelled}: {verb.meaning}",
        f"usage: whet {verb.spelled} {data}[option=value ...]",
        f"examples:\n{examples}",
        *(_group(group) for group in groups_of(verb.config)),
    ]
    if "experiment" in group_names(verb.config):
        parts.append(_experiments(verb))
    parts.append(f"{_FLAGS}\nLists are written [a,b], nothing is null, text with commas 'a, b'.")
    return "\n\n".join(parts) + "\n"


_FLAGS = """\
flags
  config=FILE      begin with the options of a file or a run folder; those given here win
  -m, --multirun   every combination of comma-separated values, one run folder each
  --cfg job        print the configuration and stop (--resolve: with interpolations filled in)
  -cd DIR          also look for YAML groups in DIR
  -h, --help       this text"""


def _group(group: OptionGroup) -> str:
    head = f"{group.name or 'top level'}: {group.meaning}"
    if group.choices:
        choices = f"{group.name}={' | '.join(group.choices)}"
        if group.name in ("data", "model"):
            choices += f" | PATH, short for {group.options[0].key}=PATH"
        indent = " " * (len(group.name) + 3)
        lines = textwrap.wrap(choices, WIDTH, initial_indent="  ", subsequent_indent=indent)
        head = "\n".join([head, *lines])
    keys = max(len(option.key) for option in group.options)
    defaults = min(14, max(len(option.default) for option in group.options))
    indent = " " * (2 + keys + 2 + defaults + 2)
    lines = [head]
    for option in group.options:
        default = "required" if option.default == "???" else option.default
        start = f"  {option.key:<{keys}}  {default:<{defaults}}  "
        if len(start) > len(indent):
            lines.append(start.rstrip())
            start = indent
        text = textwrap.wrap(option.rules.meaning, WIDTH - len(indent)) or [""]
        lines.append(start + text[0])
        lines += [indent + line for line in text[1:]]
    return "\n".join(lines)


def _experiments(verb: Verb) -> str:
    runs = {suite.folder: VERBS[suite.verb].config for suite in SUITES.values()}
    suites = [folder for folder, config in runs.items() if config is verb.config]
    recipes = [name for name in choices_of("experiment") if name.partition("/")[0] in suites]
    suite_recipes = f"the recipes of `whet bench`, such as {recipes[0]}: docs/benchmarks.md"
    if verb.name == "eval":
        return f"experiment: A whole recipe under one name: {suite_recipes}"
    names = [name for name in choices_of("experiment") if "/" not in name]
    width = max(map(len, names))
    lines = []
    for name in names:
        start = f"  experiment={name:<{width}}  "
        lines += textwrap.wrap(
            headline("experiment", name),
            WIDTH,
            initial_indent=start,
            subsequent_indent=" " * len(start),
        )
    return "\n".join(
        ["experiment: A whole recipe under one name.", *lines, f"  and {suite_recipes}"]
    )
