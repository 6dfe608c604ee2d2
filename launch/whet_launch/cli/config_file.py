"""`config=FILE`: the options of a YAML file, such as a run's config.yaml, begin a new command.

The file may be somebody's run: it sets what is computed, and nothing else (whet.config.recorded).
What the command line says besides wins.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path

from whet.config import MISSING, FitConfig
from whet.config.recorded import (
    as_it_was,
    fill,
    flat,
    for_the_command_line,
    refuse_trust,
    spelled_value,
)
from whet.errors import CheckpointError, ConfigError
from whet.printable import printable
from whet.storage.places import user_path
from whet.storage.readable import readable_yaml
from whet_launch.cli.verbs import Verb
from whet_launch.options.words import spelled

OPTION = "config"
ENDINGS = (".yaml", ".yml")


def words_of_file(verb: Verb, name: str, chosen: Collection[str]) -> list[str]:
    """The file's options as overrides; those of the groups in `chosen`, for which the command line
    names a YAML file of its own, are left out.

    Raises ConfigError for a file that cannot be read, and for an option that is unknown, of a wrong
    type, or trusts code.
    """
    from whet.progress import say  # with numpy, which help and completion do without

    path = user_path(name)
    if path.is_dir():
        path = path / "config.yaml"
    source, own_fields = printable(path), fields(verb.config)
    record = readable_yaml(path, remedy="Give config= a YAML file of options.", error=ConfigError)
    fits = {option.name for option in fields(FitConfig)}
    if user_path(name).is_dir() and verb.config is FitConfig:
        record = as_it_was(record, FitConfig)
    others = [name for name in record if name in fits - {option.name for option in own_fields}]
    if others:  # a fit's file says how to train, too
        say(
            f"{source} also holds {', '.join(others)}: no options of whet {verb.spelled}, left out."
        )
        record = {name: value for name, value in record.items() if name not in others}
    try:
        left = fill(verb.config(), record, source)
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    refuse_trust(left, source)
    left = {key: value for key, value in left.items() if key not in ("output", "resume")}
    if left:
        odd = " ".join(f"{key}={spelled_value(value)}" for key, value in left.items())
        say(f"{source} also says {odd}. That is for the command line alone: add what you want.")
    own = for_the_command_line(verb.config)
    return [
        f"{key}={spelled(value)}"
        for key, value in flat(record)
        if key not in own and key.partition(".")[0] not in chosen and value != MISSING
    ]


def refuse_bare(word: str) -> None:
    """ConfigError for a YAML file that stands where data or a folder are expected."""
    if Path(word).suffix.lower() in ENDINGS and not Path(word).is_dir():
        raise ConfigError(
            f"{printable(word)} is a file of options by its name. Write {OPTION}={printable(word)}."
        )
