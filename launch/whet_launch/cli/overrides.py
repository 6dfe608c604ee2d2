"""Command-line arguments, checked and completed before Hydra (or anything heavy) is loaded.

`data=PATH` and `model=NAME` become `data.path=PATH` and `model.name=NAME` unless they name a YAML
file of the group; text is quoted for Hydra's grammar; an unknown key or choice is refused with the
nearest right one.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from whet.errors import ConfigError
from whet.printable import printable
from whet_launch.cli.config_file import OPTION, refuse_bare, words_of_file
from whet_launch.cli.synonyms import option_called, verb_called
from whet_launch.cli.verbs import VERBS, Verb
from whet_launch.options.catalogue import choices_of, group_names, keys_of
from whet_launch.options.recipes import folders_given
from whet_launch.options.words import quoted

SHORT = {"data": "data.path", "model": "model.name"}
FLAGS = set("--hydra-help --resolve --run -r --multirun -m --shell-completion -sc".split())
FLAGS_WITH_VALUE = set("--cfg -c --package -p --config-dir -cd --info -i".split())
DRY_RUN = {"fit": "launch.dry_run=true", "push": "dry_run=true"}  # --dry-run, as others spell it
LIST = re.compile(r"\[[^\[\]]*\]")
SWEEP_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\s*\(")


def find_verb(word: str) -> Verb:
    """The verb called `word`, or ConfigError with the nearest.

    >>> find_verb("mine").name
    'mine'
    """
    if word in VERBS:
        return VERBS[word]
    if word.startswith("-"):
        near = _did_you_mean(word, ("--help", "--version"))
        raise ConfigError(
            f"There is no flag {word}.{near} The verb comes first: whet VERB [option=value ...]."
        )
    called = verb_called(word, VERBS)
    if called is not None:
        raise ConfigError(
            f"whet has no verb {word!r}. It is called {called}: {VERBS[called].examples[0][0]}"
        )
    raise ConfigError(
        f"whet has no verb {word!r}.{_did_you_mean(word, VERBS)} `whet --help` lists all."
    )


def to_hydra(verb: Verb, words: list[str]) -> list[str]:
    """The words after the verb as Hydra is to see them.

    Raises ConfigError for an unknown flag, key or choice, and for two data paths.
    """
    flags, rest = _split(verb, words)
    files = [word.partition("=")[2] for word in rest if word.startswith(f"{OPTION}=")]
    rest = [word for word in rest if not word.startswith(f"{OPTION}=")]
    sweep = bool({"-m", "--multirun"} & set(flags))
    alone = [_stands_alone(verb, word) for word in rest]
    bare = [word for word, by_itself in zip(rest, alone, strict=True) if by_itself]
    if verb.then == "query" and len(bare) > 2:
        raise ConfigError(
            f"{len(bare) - 1} words stand where one query is expected. Put them in quotes: "
            f'whet {verb.spelled} {bare[0]} "{" ".join(bare[1:])}"'
        )
    if len(bare) > (1 if verb.then is None else 2):
        expected = _meant(verb) if verb.then is None else f"value of {verb.then}"
        raise ConfigError(
            f"{bare[-2]!r} and {bare[-1]!r} both stand where one {expected} is expected. "
            "Write options as key=value."
        )
    if bare and bare[0] in _keys(verb) and not _is_here(verb, bare[0]):
        raise ConfigError(f"{bare[0]} needs a value. Write {bare[0]}=VALUE.")
    for word in bare[:1]:
        refuse_bare(word)
    if bare and verb.bare is None:
        raise ConfigError(f"{verb.spelled} takes options as key=value, and {bare[0]!r} is none.")
    keys = iter((verb.bare, verb.then))
    named = [
        f"{next(keys)}={word}" if by_itself else word
        for word, by_itself in zip(rest, alone, strict=True)
    ]
    _refuse_twice(verb, bare, named)
    overrides = [_override(verb, word, flags, sweep=sweep) for word in named]
    if sweep:
        # one folder for the whole sweep, and each job's own in it
        one_folder = re.compile(r"^output=(?='[^',]*'$)")
        overrides = [one_folder.sub("hydra.sweep.dir=", text) for text in overrides]
    return flags + _from_file(verb, files, named) + overrides


def _refuse_twice(verb: Verb, bare: list[str], named: list[str]) -> None:
    """ConfigError for a word that stands alone where its option is given, too: one of them would
    be left out.
    """
    for key, word in zip((verb.bare, verb.then), bare, strict=False):
        same = [_parts(other)[3] for other in named if _parts(other)[1] == key]
        if len(same) > 1:
            raise ConfigError(
                f"{printable(word)!r} stands where {key} is expected, and {key}= is given, too. "
                "Leave one of them out."
            )


def _from_file(verb: Verb, files: list[str], named: list[str]) -> list[str]:
    """What `config=FILE` says, as overrides that come first."""
    if not files:
        return []
    keys = {_parts(word)[1]: _parts(word)[3] for word in named}
    for other in ("experiment", "resume"):
        if other in keys:
            raise ConfigError(
                f"{OPTION}={printable(files[0])} and {other}={printable(keys[other])} each say "
                "what the run is. Give one of them."
            )
    if len(files) > 1:
        raise ConfigError(f"{OPTION} is given {len(files)} times. Give it once.")
    groups = set(group_names(verb.config))
    chosen = [key for key, value in keys.items() if key in groups and value in choices_of(key)]
    return words_of_file(verb, files[0], chosen)


def _stands_alone(verb: Verb, word: str) -> bool:
    """True for a word that is no key=value, nor `~key`, which takes an option out; `lr=0.1/data` is
    none if that folder is here.
    """
    sign, key, equals, _ = _parts(word)
    if equals:
        return key not in _keys(verb) and (" " in key or _is_here(verb, word))
    return not (sign == "~" and (key in _keys(verb) or key.startswith("hydra")))


def _is_here(verb: Verb, word: str) -> bool:
    """Whether a word alone can only be meant as the file or folder of that name."""
    option = keys_of(verb.config).get(SHORT.get(verb.bare or "", verb.bare or ""))
    return option is not None and option.rules.path and Path(word).exists()


def _keys(verb: Verb) -> set[str]:
    return {*keys_of(verb.config), *group_names(verb.config)}


def _meant(verb: Verb) -> str:
    return "data path" if verb.bare == "data" else str(verb.bare or "option")


def _split(verb: Verb, words: list[str]) -> tuple[list[str], list[str]]:
    """Flags (with their values) and the rest."""
    flags: list[str] = []
    rest: list[str] = []
    waiting = iter(words)
    for word in waiting:
        name = word.partition("=")[0]
        if not word.startswith("-"):
            rest.append(word)
        elif name in FLAGS_WITH_VALUE:
            flags += [name, word[len(name) + 1 :] or next(waiting, "")]
            if name in ("--cfg", "-c") and flags[-1] not in ("job", "hydra", "all"):
                raise ConfigError(f"{name} {flags[-1]}: write --cfg job, --cfg hydra or --cfg all.")
        elif word in FLAGS:
            flags.append(word)
        elif word == "--dry-run" and verb.name in DRY_RUN:
            rest.append(DRY_RUN[verb.name])
        elif key := _right_name(verb, name.lstrip("-").replace("-", "_")):
            after = next(waiting, "")
            value = word.partition("=")[2] or (after if re.match(r"-?[^-=]+$", after) else "")
            typed = f"{word} {value}" if value == after and value else word
            raise ConfigError(
                f"Options carry no dashes. Write {key}={value or 'VALUE'} instead of {typed}."
            )
        else:
            near = _did_you_mean(name, {*FLAGS, *FLAGS_WITH_VALUE, "--help", "--version"})
            all_flags = f"`whet {verb.spelled} --help` lists all."
            raise ConfigError(f"There is no flag {name}.{near} {all_flags}")
    return flags, rest


def _override(verb: Verb, word: str, flags: list[str], *, sweep: bool) -> str:
    """One `key=value`, checked; short forms written out, text quoted."""
    sign, key, equals, value = _parts(word)
    if key.startswith("hydra") or "@" in key or not equals or value.startswith("{"):
        return word
    if key in group_names(verb.config):
        return _choice(verb, sign + key, value, flags, sweep=sweep)
    options = keys_of(verb.config)
    if key not in options:
        raise ConfigError(_unknown_key(verb, key))
    if options[key].kind.startswith("str"):
        return f"{sign}{key}={_quoted(value, sweep=sweep, path=options[key].rules.path)}"
    return word


def _parts(word: str) -> tuple[str, str, str, str]:
    sign = word[: len(word) - len(word.lstrip("+~"))]
    key, equals, value = word[len(sign) :].partition("=")
    return sign, key, equals, value


def _choice(verb: Verb, key: str, value: str, flags: list[str], *, sweep: bool) -> str:
    """`group=choice`: known choices pass, a path or model name becomes its own key."""
    group = key.lstrip("+~")
    known = {*choices_of(group), *_own_choices(flags, group), "null"}
    if group == "data" and LIST.fullmatch(value):  # several data sets, as one word
        return f"{SHORT[group]}={_quoted(value, sweep=False, path=True)}"
    # Lists and sweeps are Hydra's to read.
    if value.startswith("[") or SWEEP_FUNCTION.match(value):
        return f"{key}={value}"
    values = value.split(",") if sweep else [value]
    if all(item in known for item in values):
        return f"{key}={value}"
    strangers = [item for item in values if item not in known]
    near = difflib.get_close_matches(strangers[0], known, n=1, cutoff=0.75)
    # A typing mistake in a name should not be taken for the folder of a model.
    looks_like_a_path = "/" in value or value[:1] in ".~'\"" or Path(value).exists()
    if not sweep and all(item in known for item in value.split(",")):
        raise ConfigError(f"{group}={value} has several values. Add --multirun for a run of each.")
    if group not in SHORT or (near and not looks_like_a_path):
        here = "" if group not in SHORT else " and no such folder here"
        raise ConfigError(
            f"There is no {group}={strangers[0]}{here}."
            f"{_did_you_mean(strangers[0], known, prefix=f'{group}=')} "
            f"There are: {', '.join(sorted(known - {'null'}))}."
        )
    if len(strangers) < len(values):
        raise ConfigError(
            f"{group}={value} mixes names of settings with paths. "
            f"Sweep over one kind, for example {SHORT[group]}={value}."
        )
    return f"{SHORT[group]}={_quoted(value, sweep=sweep, path=True)}"


def _own_choices(flags: list[str], group: str) -> list[str]:
    """YAML files of a group in the folder given by `-cd DIR`."""
    return [path.stem for given in folders_given(flags) for path in (given / group).glob("*.yaml")]


def _quoted(value: str, *, sweep: bool, path: bool) -> str:
    """Text so that Hydra's grammar reads exactly it: spaces, commas, `=` and digits included."""
    quoted_already = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if value == "null" or quoted_already or (sweep and SWEEP_FUNCTION.match(value)):
        return value
    if sweep and "," in value and not (path and LIST.fullmatch(value)):
        return ",".join(_quoted(item.strip(), sweep=False, path=path) for item in value.split(","))
    return quoted(os.path.expanduser(value) if path else value)


def _right_name(verb: Verb, key: str) -> str | None:
    """An option by its name, its last part or what others call it; None where it is none."""
    known = {*_keys(verb), OPTION}
    if key in known:
        return key
    called = option_called(key, known)
    by_last_part = [name for name in keys_of(verb.config) if name.rpartition(".")[2] == key]
    return called or (by_last_part[0] if len(by_last_part) == 1 else None)


def _unknown_key(verb: Verb, key: str) -> str:
    called = option_called(key, {*_keys(verb), OPTION})
    if called is not None:
        return f"There is no option {key!r}. It is called {called}."
    known = [*keys_of(verb.config), *group_names(verb.config)]
    last = key.rpartition(".")[2]
    by_last_part = [name for name in known if name.rpartition(".")[2] == last]
    deep_first = sorted(known, key=lambda name: -name.count("."))  # so that top-level keys win
    last_parts = {name.rpartition(".")[2]: name for name in deep_first}
    near = (
        difflib.get_close_matches(key, by_last_part, n=1, cutoff=0)
        or difflib.get_close_matches(key, known, n=1, cutoff=0.85)
        or [last_parts[x] for x in difflib.get_close_matches(last, last_parts, n=1, cutoff=0.75)]
        or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    )
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"There is no option {key!r}.{hint} `whet {verb.spelled} --help` lists all."


def _did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f" Did you mean {prefix}{near[0]}?" if near else ""
