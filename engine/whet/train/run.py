"""Run the training: a Lightning Trainer around the module, resumable at any step."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset

from whet.checkpoint import newest_whole, verify_folder
from whet.config import FitConfig
from whet.data.order import Order
from whet.model.encoder import Encoder
from whet.progress import say, track
from whet.train.callbacks import STATE, Checkpoints, Log, Refresh
from whet.train.examples import Examples
from whet.train.module import Contrastive
from whet.types import Negatives


class _Ticks(IterableDataset):
    """An endless count: which pairs a step sees is a function of the step (data/order.py)."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


@dataclass(frozen=True)
class Resume:
    """Where training goes on: the checkpoint's folder, its step, and the step its negatives are
    of.
    """

    folder: Path
    step: int
    negatives_step: int


def find_resume(folder: Path) -> Resume | None:
    """The newest whole checkpoint of a run, if it has one."""
    newest = newest_whole(folder)
    if newest is None:
        return None
    facts = verify_folder(newest)
    return Resume(newest, facts["step"], facts["negatives_step"])


def train(
    encoder: Encoder,
    examples: Examples,
    config: FitConfig,
    *,
    folder: Path,
    remine: Callable[[int], tuple[Negatives, float]],
    resume: Resume | None = None,
) -> bool:
    """Train the encoder in place; True when done, False when interrupted (a checkpoint is then in
    `folder`).

    `remine(step)` mines with the encoder as it is. Checkpoints go to folder/checkpoints, logs to
    folder/tb and folder/train_log.jsonl.
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
        checkpoints = Checkpoints(folder / "checkpoints", config, log)
        trainer = _trainer(
            config,
            folder,
            [log, Refresh(config.refresh, remine, log), checkpoints],
            module.total_steps,
        )
        _quietly(
            trainer.fit,
            module,
            DataLoader(_Ticks(), batch_size=None, generator=torch.Generator()),
            ckpt_path=resume.folder / STATE if resume else None,
            weights_only=True,
        )
    return not checkpoints.stop_signal


def _trainer(config: FitConfig, folder: Path, callbacks: list[Any], steps: int) -> L.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = config.trainer
    precision: Any = trainer.precision
    if precision == "auto":
        fast = trainer.accelerator != "cpu" and torch.cuda.is_available()
        precision = "bf16-mixed" if fast and torch.cuda.is_bf16_supported() else "32-true"
    return L.Trainer(
        accelerator=trainer.accelerator,
        devices=1,
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


def _quietly(call: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Lightning warns of loader workers and sizes that do not apply to a loader that only
    counts.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        call(*args, **options)
