"""What a job leaves: one folder with its configuration, its environment, its results.

config.yaml, origin.json, environment.json, budget.json and pool.npy (where there is a budget or a
pool), train_log.jsonl, tb/, checkpoints/ (until the job is done), negatives/, mining_report.json,
model/, trec/, metrics.json, comparison.json, per_query.jsonl, report.html; where something was
chosen moments/ (until then), selection.json and, if the base model came back, rejected/.
"""

from __future__ import annotations

import platform
import re
import time
from dataclasses import asdict, is_dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from whet.config import FitConfig, ModelConfig
from whet.config.recorded import fill
from whet.data.load import Dataset, load_dataset, read_dataset
from whet.errors import CheckpointError, ConfigError
from whet.printable import printable
from whet.processes.world import world
from whet.run.energy import EnergyMeter
from whet.storage.commit import write_atomically, write_json
from whet.storage.places import check_place, make_folder, user_path
from whet.storage.readable import readable_json, readable_yaml

ENVIRONMENT = "environment.json"
PACKAGES = (
    "whet",
    "torch",
    "lightning",
    "transformers",
    "tokenizers",
    "faiss-cpu",
    "faiss-gpu",
    "numpy",
    "bm25s",
)


RUNS = "runs"  # where results go that nobody gave a place
_STAMPS = re.compile(r"^(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_)+")
DRAFT = ".draft.tmp"  # in a folder that whet/run/output.py fills; it counts for nothing


def new_folder(output: str | None, name: str, or_else: str = "move it away") -> Path:
    """Make the folder asked for, or runs/<date>_<time>_<name>. Raises what `check_free` does."""
    check_free(output, or_else)
    if output is None:
        base = Path(RUNS) / dated(name)
        folder = base
        number = 2
        # Two commands may begin in one second.
        while folder.exists():
            folder = base.with_name(f"{base.name}_{number}")
            number += 1
    else:
        folder = Path(output)
    make_folder(folder)
    return folder


def dated(name: str) -> str:
    """The name of a folder made now; a name that is of such a folder has its date replaced.

    >>> dated("2026-11-29_19-45-05_docs_export")[19:]
    '_docs_export'
    """
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return f"{stamp}_{_STAMPS.sub('', name)}"


def check_free(output: str | None, or_else: str = "move it away") -> None:
    """ConfigError if the folder asked for holds something already: choose another, `or_else`.
    EnvironmentRefused where it, or the default one, may not be written to.
    """
    folder = Path(output or RUNS)
    if output is not None and folder.exists() and (not folder.is_dir() or _held(folder)):
        raise ConfigError(
            f"output={printable(output)} holds something already. Choose another folder, or "
            f"{or_else}."
        )
    check_place(folder)


def _held(folder: Path) -> bool:
    """Whether a folder holds more than what a job leaves that was killed in its first moments."""
    names = [path.name for path in folder.iterdir()]
    return any(not (name.startswith(".") and name.endswith(".tmp")) for name in names)


def write_config(folder: Path, config: Any) -> None:
    """Write the resolved configuration as YAML."""
    import yaml

    assert is_dataclass(config) and not isinstance(config, type)
    text = yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)
    write_atomically(folder / "config.yaml", text)


def package_versions() -> dict[str, str]:
    """The versions that may change a result, of those packages that are installed."""
    releases = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            releases[package] = version(package)
        except PackageNotFoundError:
            continue
    return releases


def read_environment(folder: Path) -> dict[str, Any]:
    """What is kept of a run's surroundings, empty where nothing is yet. CheckpointError where it
    cannot be read.
    """
    path = folder / ENVIRONMENT
    if not path.exists():
        return {}
    remedy = "Bring back a copy, or start a new run."
    record: dict[str, Any] = readable_json(path, remedy=remedy)
    spent = [record.get(name, {}) for name in ("seconds", "joules")]
    facts = [record.get(name, {}) for name in ("data", "model", "config")]
    figures = all(isinstance(part, dict) for part in [*spent, *facts]) and all(
        isinstance(value, int | float) for part in spent for value in part.values()
    )
    if not figures:
        raise CheckpointError(f"{path} is not as it was written. {remedy}")
    return record


class Stopwatch:
    """Seconds per stage, and joules where they can be read, kept in environment.json across
    interruptions.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.path = folder / ENVIRONMENT
        before = read_environment(folder)
        self.facts = {**facts, "versions": package_versions(), "seconds": before.get("seconds", {})}
        self.facts["joules"] = before.get("joules", {})
        self.start = time.monotonic()
        self.meter = EnergyMeter()
        self._write()

    def stage(self, name: str) -> None:
        """The stage that ran until now is over."""
        now = time.monotonic()
        seconds = self.facts["seconds"]
        seconds[name] = round(seconds.get(name, 0.0) + now - self.start, 2)
        self.start = now
        joules = self.facts["joules"]
        for device, spent in self.meter.joules().items():
            joules[device] = round(joules.get(device, 0.0) + spent, 1)
        self._write()

    def _write(self) -> None:
        if world().leader:
            write_json(self.path, self.facts)


def model_of(name: str) -> ModelConfig:
    """The model of a run folder, or the one of that name. CheckpointError for a run that is not
    finished.
    """
    folder = user_path(name)
    if not _is_run(folder):
        return ModelConfig(name=name)
    if not (folder / "model").is_dir():
        raise CheckpointError(
            f"{printable(folder)} holds no model: that run is not finished. Go on with: whet fit "
            f"resume={printable(folder)}"
        )
    return ModelConfig(name=str(folder / "model"))


def data_of(name: str, path: str | None) -> Dataset | None:
    """The data at `path`, or else those of the run folder `name`; None where it is none."""
    if path is not None:
        return load_dataset(path)
    folder = user_path(name)
    return data_of_run(folder) if _is_run(folder) else None


def data_of_run(folder: Path) -> Dataset:
    """The data that a fit or an adaptation was made with, as its config.yaml names them.
    CheckpointError where there is none.
    """
    source = folder / "config.yaml"
    record = readable_yaml(source, remedy="Give the folder of a run, or data=PATH.")
    run = FitConfig()
    fill(run, {"data": record.get("data", {})}, printable(source))
    return read_dataset(run.data)


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file()
