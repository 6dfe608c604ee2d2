"""From arguments to a job: Hydra composes and checks the configuration for the verb's function.

Hydra's own machinery does single runs, sweeps (`--multirun`), `--cfg`, `--info` and completion.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from whet.config import MISSING, FitConfig
from whet.config.recorded import (
    MAY_DIFFER,
    TRUST,
    as_it_was,
    fill,
    flat,
    for_the_command_line,
    options_of,
    refuse_trust,
    spelled_record,
    spelled_value,
)
from whet.errors import CheckpointError, ConfigError, EnvironmentRefused
from whet.printable import printable
from whet.progress import say
from whet.storage.disk import is_of_disk
from whet.storage.readable import readable_yaml
from whet_launch.cli.sweep_table import SweepRun, value_of, write_sweep
from whet_launch.cli.verbs import Verb, run_function
from whet_launch.options.catalogue import example, keys_of
from whet_launch.options.recipes import refuse_recipes_of_hydra


def run(verb: Verb, arguments: list[str], guarded: Callable[[Callable[[], int]], int]) -> int:
    """Do what the arguments say; `exit_code_of` tells a job's error and turns it into an exit code.

    Returns the greatest exit code of the jobs. Raises ConfigError where no job can be composed.
    """
    register(verb)
    refuse_recipes_of_hydra(arguments)
    codes: list[int] = []
    bugs: list[Exception] = []
    later: list[FitConfig] = []  # a sweep's runs that share a cluster
    runs: list[SweepRun] = []

    def job(config: DictConfig) -> float | None:
        """What a sweeper that searches is to make large: the main measure."""
        try:
            codes.append(guarded(lambda: _job(verb, config, later, runs)))
        except Exception as error:  # kept from Hydra, which would add lines of its own
            bugs.append(error)
        return value_of(runs[-1].folder if runs and codes and not codes[-1] else None)

    main = hydra.main(version_base="1.3", config_path="pkg://whet_conf", config_name=verb.name)
    argv = sys.argv
    completing = bool({"-sc", "--shell-completion"} & set(arguments))
    sys.argv = ["whet" if completing else f"whet {verb.name}", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra is to raise its errors, not to print them
    try:
        main(job)()
    except OSError as error:  # Hydra makes the folder of a sweep
        if is_of_disk(error):
            raise
        if error.filename is None:  # of its own: no such file of a group
            raise ConfigError(_in_one_line(verb, error)) from error
        place = f"{printable(error.filename)}: {error.strerror}"
        raise EnvironmentRefused(
            f"{place}. Say where to write the results: output=FOLDER."
        ) from error
    except Exception as error:
        raise ConfigError(_in_one_line(verb, error)) from error
    finally:
        sys.argv = argv
    if bugs:
        raise bugs[0]
    if later:
        from whet_launch.cluster.sweep import run_together

        codes.append(guarded(lambda: max(run_together(later))))
    if runs:
        codes.append(guarded(lambda: _tell_sweep(runs)))
    return max(codes, default=0)


def _tell_sweep(runs: list[SweepRun]) -> int:
    """Print and keep the table of a sweep's runs, where they left figures."""
    folder = Path(os.path.commonpath([run.folder.absolute().parent for run in runs]))
    table = write_sweep(folder, runs) if folder.is_dir() else None
    if table is not None:
        print(table)
        say(f"Sweep: {os.path.relpath(folder / 'sweep.md')}")
    return 0


def register(verb: Verb) -> None:
    """Give Hydra the dataclass to check against, as `fit_schema` and so on, and OmegaConf the
    place of the data that come with Whet.
    """
    OmegaConf.register_new_resolver("whet.example", example, replace=True)
    ConfigStore.instance().store(name=f"{verb.name}_schema", node=verb.config)


def _job(verb: Verb, composed: DictConfig, later: list[FitConfig], runs: list[SweepRun]) -> int:
    _refuse_what_recipes_decide(verb, composed)
    job = HydraConfig.get()
    sweep = job.mode is RunMode.MULTIRUN
    if sweep and composed.get("resume") not in (None, "auto"):
        raise ConfigError(
            f"resume={composed.resume} goes on with one run. A sweep that was interrupted goes on "
            "with resume=auto and the output=FOLDER it began with."
        )
    words = list(job.overrides.task)
    own_folder = sweep and "output" in composed and composed.output is None
    if own_folder:
        composed.output = str(Path(job.sweep.dir) / str(job.sweep.subdir))
    if sweep and "output" in composed:
        runs.append(SweepRun(job.job.num, tuple(words), Path(composed.output)))
    if own_folder:
        overrides = " ".join(words)
        done = composed.get("resume") == "auto" and (Path(composed.output) / "model").exists()
        after = "done already" if done else composed.output
        print(f"job {job.job.num}: {overrides} -> {after}", file=sys.stderr, flush=True)
        if done:
            return 0
    config = typed(verb, composed)
    listed = sweep and job.runtime.choices["hydra/sweeper"] == "basic"
    if listed and isinstance(config, FitConfig) and config.launch.mode == "ray":
        # On a cluster the runs of a sweep are done together, when all of them are known; to one
        # that searches they are not known, and each waits for the figures of those before.
        later.append(config)
        return 0
    return run_function(verb, config)


def typed(verb: Verb, composed: DictConfig) -> Any:
    """The verb's dataclass, filled; a resumed fit gets the configuration its run folder holds.

    Raises ConfigError if a required option is missing or contradicts the resumed run.
    """
    folder = _run_to_resume(composed) if composed.get("resume") is not None else None
    if folder is not None:
        resumed = _resumed(composed, folder)
        _refuse_missing(verb, ["data.path"] if resumed.data.path == MISSING else [])
        return resumed
    if "resume" in composed:
        composed.resume = None  # auto, and nothing was begun yet
    _refuse_missing(verb, sorted(OmegaConf.missing_keys(composed)))
    return OmegaConf.to_object(composed)


def _refuse_missing(verb: Verb, missing: list[str]) -> None:
    if "data.path" in missing:
        raise ConfigError(
            f"{verb.spelled} needs data. Say which: whet {verb.spelled} data=FOLDER, "
            "or try experiment=demo."
            if verb.config is FitConfig
            else f"{verb.spelled} needs data. Say which: whet {verb.spelled} data=FOLDER."
        )
    if missing:
        raise ConfigError(f"{', '.join(missing)} must be set. Write {missing[0]}=VALUE.")


def _named() -> set[str]:
    """The options and groups that the command line names."""
    asked = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return {word.partition("=")[0].lstrip("+~") for word in asked}


def _refuse_what_recipes_decide(verb: Verb, composed: DictConfig) -> None:
    """ConfigError where a YAML file sets what is for the command line alone (whet.config.recorded).

    Naming a file of the group is enough for all but trust: `launch=mine` asks for what it says.
    """
    named, standard = _named(), dict(options_of(verb.config()))
    command_line = for_the_command_line(verb.config)
    for key, value in flat(OmegaConf.to_container(composed, resolve=True)):
        asked = key in named or (key != TRUST and key.partition(".")[0] in named)
        if key in command_line and value != standard[key] and not asked:
            raise ConfigError(
                f"A recipe sets {key}={spelled_value(value)}, and that is for the command line "
                f"alone. If you mean it, add {key}={spelled_value(value)}."
            )


def _run_to_resume(composed: DictConfig) -> Path | None:
    """The folder that `resume` means; None where there is nothing to go on with here."""
    if composed.launch.mode in ("job", "kuberay"):
        if composed.resume != "auto":
            raise ConfigError(
                f"launch={composed.launch.mode} goes on with what lies in output by itself. Give "
                "the same command again, and output=FOLDER instead of resume=FOLDER."
            )
        return None
    if composed.resume != "auto":
        return Path(composed.resume)
    if composed.output is None:
        raise ConfigError("resume=auto goes on with the run in output. Write output=FOLDER, too.")
    return Path(composed.output) if (Path(composed.output) / "config.yaml").is_file() else None


def _resumed(composed: DictConfig, folder: Path) -> FitConfig:
    """The run's own configuration; what the command line asks for besides must agree with it."""
    source = folder / "config.yaml"
    if not source.is_file():
        raise CheckpointError(
            f"{folder} holds no config.yaml, so it is no run folder. Name a folder that `whet fit` "
            "wrote, such as one under runs/."
        )
    saved = FitConfig()
    record = readable_yaml(source, remedy="Bring back a copy, or start a new run.")
    left = fill(saved, as_it_was(record, FitConfig), printable(source))
    asked = dict(flat(OmegaConf.to_container(composed, resolve=True)))
    # A run folder may be a stranger's: only this command line can trust code.
    if not asked[TRUST]:
        refuse_trust(left, printable(source))
    named, standard = _named(), dict(options_of(FitConfig()))
    command_line = for_the_command_line(FitConfig)
    for key, there in list(options_of(saved)):
        here = asked[key]
        # A default that nobody wrote asks for nothing.
        stated = here != standard[key] or key in named
        if key in command_line:
            _set(saved, key, here)
        elif key.startswith(MAY_DIFFER):
            if stated or key.partition(".")[0] in named:
                _set(saved, key, here)
        elif here != there and stated:
            raise ConfigError(
                f"{folder} was begun with {key}={there}, and this command says {here}. "
                "A resumed run goes on as it was begun: leave the option out, or start a new run."
            )
    saved.resume = str(folder)
    say(f"As {printable(source)} says: {spelled_record(saved)}.")
    _tell_left(folder, left, asked)
    return saved


def _set(config: FitConfig, key: str, value: Any) -> None:
    group, _, name = key.rpartition(".")
    setattr(getattr(config, group) if group else config, name, value)


def _tell_left(folder: Path, left: dict[str, Any], asked: dict[str, Any]) -> None:
    """Say what the run was begun with and is not taken over."""
    odd = [f"{key}={spelled_value(value)}" for key, value in left.items() if asked[key] != value]
    odd = [word for word in odd if not word.startswith(("output=", "resume="))]
    if odd:
        say(
            f"{folder} was begun with {' '.join(odd)}. Where and by how many processes a run goes "
            "on is for the command line alone: add what you want of it."
        )


def _in_one_line(verb: Verb, error: BaseException) -> str:
    """Hydra's or OmegaConf's complaint without its context lines, with what to do."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    for part in chain:
        if isinstance(part, OmegaConfBaseException) and part.full_key:
            option = keys_of(verb.config).get(part.full_key)
            takes = f" It takes {option.kind}, by default {option.default}." if option else ""
            return f"{part.full_key}: {_first_line(part)}{takes}"
        if isinstance(part, OverrideParseException):
            return (
                f"{part.override!r} cannot be read as key=value. Lists are written [a,b]; text "
                f"with commas or brackets needs quotes that the shell leaves, as in \"key='a, b'\"."
            )
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if isinstance(error, MissingConfigException):  # several files of a group, as mining=[a,b]
        group, _, name = str(error.missing_cfg_file).partition("/")
        text = f"There is no {group}={name}. A list takes YAML files of that group alone"
    if "multirun" in text:
        several = text.split("'")[1]  # "Ambiguous value for argument 'seed=1,2' ..."
        text = f"{several} has several values. Add --multirun for a run of each"
    return f"{text.rstrip('.')}. `whet {verb.spelled} --help` lists every option."


def _first_line(error: BaseException) -> str:
    line = str(error).strip().splitlines()[0].strip()
    return line if line.endswith(".") else line + "."
