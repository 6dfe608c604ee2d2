"""Run the training: a Lightning Trainer around the module, resumable at any step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from torch.utils.data import DataLoader

from whet.config import FitConfig
from whet.model.encoder import Encoder
from whet.progress import say, track
from whet.training.batches.examples import Examples
from whet.training.callbacks import (
    Checkpoints,
    Clock,
    Judge,
    Log,
    Moments,
    NegativesInUse,
    Refresh,
)
from whet.training.continuous import BackgroundMiner, ContinuousRefresh, leader_only
from whet.training.module import Contrastive
from whet.training.restore import Resume, check_checkpoint
from whet.training.strategies import strategy_of
from whet.training.trainer import Ticks, quietly, trainer_of
from whet.training.whole import Whole


def train(
    encoder: Encoder,
    examples: Examples,
    config: FitConfig,
    *,
    folder: Path,
    base: str,
    in_use: NegativesInUse,
    miner: Callable[[], BackgroundMiner],
    resume: Resume | None = None,
    logger: Logger | None = None,
    step_done: Callable[[float], None] = lambda seconds: None,
    judge: Judge | None = None,
) -> Encoder | None:
    """Train the encoder; returns it with all its weights on this process, or None when interrupted
    (a checkpoint is then in `folder`). The encoder given is not to be used any more.

    Every process of a job calls this with the same arguments; they share the model by
    `config.strategy`. `base` is the fingerprint of the weights it began with, which a resume must
    have, too. `in_use` are the negatives of the steps, and `miner()` starts who mines beside the
    training for refresh.policy=continuous. `step_done` gets the seconds of each step, without
    mining. Checkpoints go to folder/checkpoints, figures to folder/train_log.jsonl and `logger`.
    `judge` judges the model at a few moments, and may end the training there.
    """
    trainer_config = config.trainer
    order = examples.order(config)
    strategy = strategy_of(config.strategy, trainer_config.gradient_clip_val)
    module = Contrastive(encoder, examples, order, config, strategy)
    examples.set_negatives(in_use.negatives)
    total_pairs = order.seen(module.total_steps)
    done_pairs = order.seen(resume.step if resume else 0)
    _tell_beginning(module, trainer_config.max_steps, resume)
    with track("Training", total_pairs, "pairs", done=done_pairs) as advance:
        log = Log(folder / "train_log.jsonl", trainer_config.log_every_n_steps, in_use, advance)
        checkpoints = Checkpoints(folder / "checkpoints", config, log, base)
        whole = Whole(encoder, config.model, strategy)
        clock = Clock(step_done)
        callbacks = [
            *([Moments(judge, config.select.moments, whole, log, clock)] if judge else []),
            log,
            _refresh(config, in_use, miner, whole, log),
            checkpoints,
            whole,
            clock,
        ]
        steps = _steps(module.total_steps, judge, resume)
        trainer = trainer_of(config, folder, strategy, callbacks, steps, logger=logger)
        if resume:
            check_checkpoint(resume, module, strategy, config, base)
        quietly(
            trainer.fit,
            module,
            # A generator of its own: a loader draws a seed, by default from torch's global one.
            DataLoader(Ticks(), batch_size=None, generator=torch.Generator()),
            ckpt_path=strategy.state_to_load(resume.state, resume.processes) if resume else None,
            # A checkpoint is a stranger's file: no pickle of it may run code.
            weights_only=True,
        )
    return None if checkpoints.stop_signal else whole.at_end


def _tell_beginning(module: Contrastive, most: int, resume: Resume | None) -> None:
    order, steps = module.order, module.total_steps
    if resume:
        say(f"Going on at step {resume.step} of {steps}.")
    elif steps < order.steps_per_epoch:
        say(
            f"Training on {order.seen(steps):,} of {order.pairs:,} pairs: trainer.max_steps="
            f"{most} ends it. trainer.max_steps=-1 takes all of them."
        )


def _refresh(
    config: FitConfig,
    in_use: NegativesInUse,
    miner: Callable[[], BackgroundMiner],
    whole: Whole,
    log: Log,
) -> L.Callback:
    if config.refresh.policy == "continuous":
        return ContinuousRefresh(leader_only(miner), in_use, whole, log)
    return Refresh(config.refresh, in_use, whole, log)


def _steps(planned: int, judge: Judge | None, resume: Resume | None) -> int:
    """How many steps there are to be: no more than until a moment that has stopped the training."""
    if judge is None:
        return planned
    judge.begin(resume.step if resume else 0)
    return judge.stopped_at() or planned
