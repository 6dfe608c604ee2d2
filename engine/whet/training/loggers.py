"""Where the figures of a training go besides train_log.jsonl: TensorBoard's files in the run
folder, Weights & Biases, or MLflow. The loggers are Lightning's.

`logger.json` of a run folder says which run of the service its figures went to, so that a resume
goes on there. It names no address: a folder may be a stranger's, and figures go where this command
line and this environment say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from whet.config import FitConfig
from whet.config.recorded import for_the_command_line, options_of
from whet.errors import CheckpointError, EnvironmentRefused
from whet.printable import printable
from whet.processes.world import from_leader, world
from whet.progress import say
from whet.storage.commit import write_json
from whet.storage.readable import readable_json

RECORD = "logger.json"
PROJECT = "whet"
ENDS = {"done": ("FINISHED", 0), "stopped": ("KILLED", 130), "failed": ("FAILED", 1)}
RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
REMEDY = "Take it away to log to a new run."


class MLflow(MLFlowLogger):
    """Lightning's, for a server that may go away: its client tries again for minutes, and then no
    more is sent to it. The training goes on.
    """

    lost = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send figures, where they still arrive."""
        if self.lost:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:  # the client's errors have no common class
            self.lost = True
            say(f"MLflow takes no more figures ({_first_line(error)}). train_log.jsonl has all.")


class Figures:
    """The logger of a fit, on each of its processes; those that are not the leader have none of a
    service.
    """

    def __init__(self, logger: Logger | None) -> None:
        self.logger = logger

    def measures(self, of: str, means: Mapping[str, float]) -> None:
        """Send what a model's search measures, such as `tuned/nDCG_at_10`; TensorBoard's files are
        of the steps alone.
        """
        if isinstance(self.logger, WandbLogger | MLflow):
            named = {f"{of}/{name}".replace("@", "_at_"): value for name, value in means.items()}
            self.logger.log_metrics(named)

    def close(self, how: str) -> None:
        """Say how the run ended: "done", "stopped" (it may be resumed) or "failed"."""
        status, code = ENDS[how]
        if isinstance(self.logger, WandbLogger):
            self.logger.experiment.finish(exit_code=code)
        elif isinstance(self.logger, MLflow) and not self.logger.lost:
            self.logger.experiment.set_terminated(self.logger.run_id, status)


@contextmanager
def logged(config: FitConfig, folder: Path) -> Iterator[Figures]:
    """Open the logger of a run folder; it is told how the block ended.

    Raises EnvironmentRefused where the service cannot be reached or does not know who asks, and
    CheckpointError for a damaged logger.json. Every process of a job calls it alike.
    """
    figures = Figures(_opened(config, folder))
    how = "failed"
    try:
        yield figures
        how = "done"
    except KeyboardInterrupt:
        how = "stopped"
        raise
    finally:
        try:
            figures.close(how)
        except Exception as error:  # what the run computed is whole all the same
            say(
                f"logger={config.logger.name} was not told that the run is {how}: "
                f"{_first_line(error)}."
            )


def _opened(config: FitConfig, folder: Path) -> Logger | None:
    name = config.logger.name
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="tb", version="")
    if name == "none":
        return None
    opened: list[Logger] = []
    # the leader's failure is everybody's: the others would wait for its first step
    from_leader(lambda: opened.append(_of_a_service(config, folder)))
    return opened[0] if world().leader else None


def _of_a_service(config: FitConfig, folder: Path) -> Logger:
    before = _record(config, folder)
    open_it = _wandb if config.logger.name == "wandb" else _mlflow
    try:
        logger, record = open_it(config, folder, before)
        if not before:
            command_line = for_the_command_line(FitConfig)
            options = {key: v for key, v in options_of(config) if key not in command_line}
            logger.log_hyperparams(options)
    except Exception as error:  # each client has a tree of errors of its own
        raise _refused(config, folder, error, before) from error
    write_json(folder / RECORD, {"name": config.logger.name, **record})
    return logger


def _wandb(
    config: FitConfig, folder: Path, before: Mapping[str, str]
) -> tuple[Logger, dict[str, str]]:
    project = before.get("project") or config.logger.project or PROJECT
    record = {"id": before.get("id") or uuid4().hex[:8], "project": project}
    run = folder.resolve().name
    logger = WandbLogger(name=run, save_dir=folder, id=record["id"], project=project)
    _ = logger.experiment  # made when it is first asked for: here, before any work
    return logger, record


def _mlflow(
    config: FitConfig, folder: Path, before: Mapping[str, str]
) -> tuple[Logger, dict[str, str]]:
    from mlflow import get_tracking_uri

    project = before.get("project") or config.logger.project or PROJECT
    logger = MLflow(
        experiment_name=project,
        run_name=folder.resolve().name,
        tracking_uri=config.logger.address or get_tracking_uri(),
        run_id=before.get("id"),
    )
    client, run = logger.experiment, str(logger.run_id)
    if before:
        client.update_run(run, status="RUNNING")
    return logger, {"id": run, "project": project}


def _record(config: FitConfig, folder: Path) -> dict[str, str]:
    """What a run that is gone on with has of this service; nothing where another project is asked
    for.
    """
    if not (folder / RECORD).exists():
        return {}
    record: dict[str, str] = readable_json(folder / RECORD, remedy=REMEDY)
    whole = all(isinstance(record.get(key), str) for key in ("name", "id", "project"))
    if not whole or not RUN_ID.fullmatch(record["id"]):
        raise CheckpointError(f"{folder / RECORD} is not as it was written. {REMEDY}")
    asked = config.logger
    same = record["name"] == asked.name and asked.project in (None, record["project"])
    return record if same else {}


def _refused(
    config: FitConfig, folder: Path, error: Exception, before: Mapping[str, str]
) -> EnvironmentRefused:
    name = config.logger.name
    run = f", which is to go on with run {printable(before['id'])}" if before else ""
    remedy = {
        "wandb": "Run `wandb login`, or set WANDB_MODE=offline",
        "mlflow": "Give its server as logger.address=http://HOST:5000",
    }[name]
    again = f", or take {folder / RECORD} away to log to a new run" if before else ""
    return EnvironmentRefused(
        f"logger={name}{run}: {_first_line(error)}. {remedy}{again}; logger=none logs to "
        "train_log.jsonl alone."
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0][:200]).rstrip(".") if lines else type(error).__name__
