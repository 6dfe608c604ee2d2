"""What a fit is refused for, before any work is begun."""

from __future__ import annotations

import os
from pathlib import Path

from whet.config import FitConfig
from whet.config.ranges import (
    budget_seconds,
    check_logger,
    check_options,
    check_strategy,
)
from whet.config.recorded import refuse_other_options
from whet.config.sets import check_sets
from whet.data.load import Dataset
from whet.errors import CheckpointError, ConfigError
from whet.evaluation.measures import check_measures
from whet.mining.policy import check_policy
from whet.mining.search import check_backend
from whet.printable import printable
from whet.processes.world import world
from whet.run.folder import read_environment
from whet.run.job import Job
from whet.run.origin import read_origin


def check_fit(config: FitConfig) -> None:
    """Refuse options that contradict each other or this machine, before anything is loaded."""
    check_options(config)
    check_sets(config)
    if config.budget is not None:
        budget_seconds(config.budget)
    check_strategy(config.strategy, max(config.launch.num_workers, world().size))
    if config.strategy.name == "deepspeed" and config.strategy.offload == "nvme":
        from whet.training.strategies.deepspeed import check_disk_offload

        check_disk_offload()
    check_logger(config.logger)
    check_measures(config.evaluate.measures, config.evaluate.depth)
    if config.mining.num_negatives:
        check_policy(config.mining)
        check_backend(config.mining.backend)
    refresh = config.refresh
    if refresh.policy != "off" and refresh.scope == "mapped" and config.mining.scope != "all":
        raise ConfigError(
            "refresh.scope=mapped moves the vectors of all documents, and mining.scope="
            f"{config.mining.scope} has those of some. Set refresh.scope=candidates or all: both "
            "stay within what mining looks at."
        )
    if config.refresh.policy != "off" and config.mining.num_negatives == 0:
        raise ConfigError(
            f"refresh.policy={config.refresh.policy} needs negatives to refresh, and "
            "mining.num_negatives is 0. Raise it, or set refresh.policy=off."
        )


def check_resume(folder: Path, config: FitConfig, data: Dataset) -> None:
    """Refuse to go on with a run that is finished, damaged, or was begun with other data or options
    that decide its result.
    """
    if not (folder / "config.yaml").exists():
        raise CheckpointError(
            f"resume={folder}: no run folder, config.yaml is missing. Give the folder of a fit."
        )
    if (folder / "model").exists():
        raise ConfigError(
            f"resume={folder}: that run is finished, its model is in {folder / 'model'}. "
            "Start a new run to train again."
        )
    _refuse_links_out(folder)
    read_origin(folder)  # both records: what is damaged is better known before any work
    begun = read_environment(folder)
    recorded = begun.get("data", {})
    scores = data.scores.digest if "scores" in recorded and data.scores is not None else None
    if recorded.get("digest", data.digest) != data.digest or recorded.get("scores") != scores:
        raise CheckpointError(
            f"{folder} was begun with other data: {data.path} has changed since. "
            "Restore the data, or start a new run."
        )
    if "config" in begun:
        refuse_other_options(begun["config"], config, str(folder))


def _refuse_links_out(folder: Path) -> None:
    """CheckpointError for a link that leads out of a run folder: what goes on writes there, and a
    stranger's folder is not to choose the place.
    """
    home = folder.resolve()
    for place, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(place, name)
            # realpath: of links in a circle Path.resolve makes an error of its own
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
                raise CheckpointError(
                    f"{printable(path)} is a link that leads out of the run folder, and a run "
                    "writes there alone. Put what it leads to in its place, or start a new run."
                )


def check_base(job: Job, fingerprint: str) -> None:
    """Refuse a base model that is not the one a resumed run began with: the negatives and the
    result would be of two models.
    """
    begun = read_environment(job.folder).get("model", {})
    if begun.get("fingerprint", fingerprint) != fingerprint:
        raise CheckpointError(
            f"{job.folder} was begun with other weights: model.name={job.config.model.name} has "
            "changed since. Restore the model, or start a new run."
        )
