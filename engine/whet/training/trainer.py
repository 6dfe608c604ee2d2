"""Lightning's Trainer as Whet uses it: it steps, and nothing else."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import IterableDataset

from whet.config import FitConfig
from whet.processes.devices import training_device, training_precision
from whet.processes.world import world
from whet.training.strategies import Strategy
from whet.training.strategies.saving import InPlace


class Ticks(IterableDataset[int]):
    """An endless count: which pairs a step sees is a function of the step (batches/order.py)."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


class Joined(ClusterEnvironment):
    """The processes of `whet.processes.world`, as Lightning asks for them."""

    creates_processes_externally = True

    @property
    def main_address(self) -> str:
        """Where the processes met."""
        return os.environ.get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        """The port they met at."""
        return int(os.environ.get("MASTER_PORT", "29500"))

    @staticmethod
    def detect() -> bool:
        """Only ever given explicitly."""
        return False

    def world_size(self) -> int:
        """Processes of the job."""
        return world().size

    def set_world_size(self, size: int) -> None:
        """Fixed by the launcher."""

    def global_rank(self) -> int:
        """This process."""
        return world().rank

    def set_global_rank(self, rank: int) -> None:
        """Fixed by the launcher."""

    def local_rank(self) -> int:
        """The only one of its node, to Lightning."""
        return 0

    def node_rank(self) -> int:
        """The process itself."""
        return world().rank


def trainer_of(
    config: FitConfig,
    folder: Path,
    strategy: Strategy,
    callbacks: list[Any],
    steps: int,
    *,
    logger: Logger | None = None,
) -> L.Trainer:
    """A Trainer of so many steps, which takes nothing from the surroundings that Whet decides."""
    _decide_for_lightning()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = config.trainer
    device = training_device(trainer)
    precision: Any = training_precision(trainer)
    return L.Trainer(
        accelerator=trainer.accelerator,
        devices=1 if device.index is None else [device.index],
        num_nodes=world().size,
        strategy=strategy.lightning,
        plugins=[Joined(), InPlace()],
        default_root_dir=folder,  # in Slurm an hpc_ckpt_1.ckpt in the working folder would be used
        precision=precision,
        max_steps=steps,
        max_epochs=-1,
        logger=logger or False,
        callbacks=callbacks,
        log_every_n_steps=trainer.log_every_n_steps,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _decide_for_lightning() -> None:
    """Which process this is, and the options of the trainer, are ours to say: Lightning would take
    the one from variables of Slurm, LSF or torchrun, and what we leave out from PL_TRAINER_*.
    """
    rank_zero_only.rank = world().rank  # type: ignore[attr-defined]
    for name in [name for name in os.environ if name.startswith("PL_TRAINER_")]:
        del os.environ[name]


def quietly(call: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Lightning warns of loader workers and sizes that do not apply to a loader that only
    counts.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        call(*args, **options)
