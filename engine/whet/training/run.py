"""Run the training: a Lightning Trainer around the module, resumable at any step."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader, IterableDataset

from whet.config.schema import FitConfig
from whet.model.encoder import Encoder
from whet.processes.world import world
from whet.progress import say, track
from whet.training.batches.examples import Examples
from whet.training.batches.order import Order
from whet.training.callbacks import Checkpoints, Clock, Log, Probe, Refresh, Remine
from whet.training.continuous import BackgroundMiner, ContinuousRefresh, leader_only
from whet.training.module import Contrastive
from whet.training.restore import Resume, check_checkpoint, state_to_load
from whet.training.saving import InPlace
from whet.training.strategy import Joined, lightning_strategy
from whet.training.whole import Whole
from whet.types import Negatives


class _Ticks(IterableDataset):
    """An endless count: which pairs a step sees is a function of the step (data/order.py)."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


@dataclass(frozen=True)
class Refreshes:
    """How negatives become fresh: `remine(step, encoder)` mines with the encoder as it is while
    training waits, `probe(mined_at, encoder)` says how much of those in use would stay; `miner()`
    makes who mines beside it, `published(step)` reads what that found.
    """

    remine: Remine
    probe: Probe
    published: Callable[[int], tuple[Negatives, float]]
    miner: Callable[[], BackgroundMiner]

    def callback(self, config: FitConfig, whole: Whole, log: Log) -> L.Callback:
        """The callback of the policy."""
        if config.refresh.policy == "continuous":
            return ContinuousRefresh(leader_only(self.miner), self.published, whole, log)
        return Refresh(config.refresh, self.remine, self.probe, whole, log)


def train(
    encoder: Encoder,
    examples: Examples,
    config: FitConfig,
    *,
    folder: Path,
    base: str,
    refreshes: Refreshes,
    resume: Resume | None = None,
    step_done: Callable[[float], None] = lambda seconds: None,
) -> Encoder | None:
    """Train the encoder; returns it with all its weights on this process, or None when interrupted
    (a checkpoint is then in `folder`). The encoder given is not to be used any more.

    Every process of a job calls this with the same arguments; they share the model by
    `config.strategy`. `base` is the fingerprint of the weights it began with, which a resume must
    have, too. `step_done` is told the seconds of each step, without mining. Checkpoints go
    to folder/checkpoints, logs to folder/tb and folder/train_log.jsonl.
    """
    trainer_config = config.trainer
    order = Order(len(examples), trainer_config.batch_size, config.seed)
    module = Contrastive(encoder, examples, order, config)
    total_pairs = sum(len(order.step(step)) for step in range(module.total_steps))
    done_pairs = sum(len(order.step(step)) for step in range(resume.step if resume else 0))
    if resume:
        say(f"Going on at step {resume.step} of {module.total_steps}.")
    elif module.total_steps < order.steps_per_epoch:
        say(
            f"Training on {total_pairs:,} of {len(examples):,} pairs: trainer.max_steps="
            f"{trainer_config.max_steps} ends it. trainer.max_steps=-1 takes all of them."
        )
    with track("Training", total_pairs, "pairs", done=done_pairs) as advance:
        log = Log(folder / "train_log.jsonl", trainer_config.log_every_n_steps, advance)
        log.mined_at = resume.negatives_step if resume else 0
        checkpoints = Checkpoints(folder / "checkpoints", config, log, base)
        whole = Whole(encoder, config.model)
        refresh = refreshes.callback(config, whole, log)
        callbacks = [log, refresh, checkpoints, whole, Clock(step_done)]
        trainer = _trainer(config, folder, callbacks, module.total_steps)
        if resume:
            check_checkpoint(resume, module, trainer.strategy, config, base)
        _quietly(
            trainer.fit,
            module,
            DataLoader(_Ticks(), batch_size=None, generator=torch.Generator()),
            ckpt_path=state_to_load(resume, trainer.strategy) if resume else None,
            weights_only=True,
        )
    return None if checkpoints.stop_signal else whole.at_end


def _trainer(config: FitConfig, folder: Path, callbacks: list[Any], steps: int) -> L.Trainer:
    _decide_for_lightning()
    strategy = lightning_strategy(config.strategy, config.trainer.gradient_clip_val)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = config.trainer
    precision: Any = trainer.precision
    if precision == "auto":
        fast = trainer.accelerator != "cpu" and torch.cuda.is_available()
        precision = "bf16-mixed" if fast and torch.cuda.is_bf16_supported() else "32-true"
    return L.Trainer(
        accelerator=trainer.accelerator,
        devices=_devices(trainer.accelerator),
        num_nodes=world().size,
        strategy=strategy,
        plugins=[Joined(), InPlace()],
        default_root_dir=folder,  # in Slurm an hpc_ckpt_1.ckpt in the working folder would be used
        precision=precision,
        max_steps=steps,
        max_epochs=-1,
        logger=TensorBoardLogger(folder, name="tb", version=""),
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


def _devices(accelerator: str) -> int | list[int]:
    """The one device of this process."""
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    return [world().device_index] if on_gpu else 1


def _quietly(call: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Lightning warns of loader workers and sizes that do not apply to a loader that only
    counts.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        call(*args, **options)
