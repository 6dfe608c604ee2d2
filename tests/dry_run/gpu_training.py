"""Training steps on a GPU that is not there, and what a step may cost; of several modules here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from pretend_cuda import Gpu
from torch.utils.data import DataLoader

from whet.config import DataConfig, FitConfig, LossConfig, ModelConfig
from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.model.encoder import Encoder
from whet.training.batches.examples import Examples
from whet.training.batches.order import Order
from whet.training.module import Contrastive
from whet.training.strategies import strategy_of
from whet.training.trainer import Ticks, quietly, trainer_of
from whet.training.whole import Whole

WAITS_OF_TILES = 12  # the fused loss sorts the known positives into its tiles


class Place(NamedTuple):
    """The tiny model, the tiny data, and a folder for what is written."""

    model: Path
    data: Path
    folder: Path


class Watch(L.Callback):
    """Counts the steps after the first as `step`, and keeps the losses."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.losses: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """A step begins; the first one meets what is made once."""
        self.gpu.phase = "step" if self.losses else "first step"

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step is over."""
        self.losses.append(module.last_loss)
        self.gpu.phase = ""


class Steps:
    """A few steps of eight pairs, and everything that took part in them."""

    def __init__(self, gpu: Gpu, config: FitConfig, folder: Path, count: int) -> None:
        self.gpu, self.config, self.folder, self.count = gpu, config, folder, count
        config.trainer = replace(config.trainer, batch_size=8, max_steps=count)
        data = load_dataset(config.data.path)
        qrels = data.split("train")
        positives = positives_of(qrels, data.queries, data.corpus)
        examples = Examples(qrels, positives, queries=data.queries, corpus=data.corpus)
        self.strategy = strategy_of(config.strategy, 1.0)
        order = Order(len(examples), 8, 0)
        self.encoder = Encoder.load(config.model)
        self.module = Contrastive(self.encoder, examples, order, config, self.strategy)
        self.watch = Watch(gpu)

    def run(self, callbacks: Sequence[L.Callback] = (), resume: Path | None = None) -> list[float]:
        """Do them, or those after a checkpoint; the losses."""
        self.whole = Whole(self.encoder, self.config.model, self.strategy)
        called = [*callbacks, self.whole, self.watch]
        self.trainer = trainer_of(self.config, self.folder, self.strategy, called, self.count)
        loader = DataLoader(Ticks(), batch_size=None, generator=torch.Generator())
        quietly(self.trainer.fit, self.module, loader, ckpt_path=resume, weights_only=True)
        return self.watch.losses


class Keep(L.Callback):
    """Writes a checkpoint after so many steps."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """The step is done."""
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def config_of(model: Path, data: Path, **options: Any) -> FitConfig:
    """A training of the tiny model: options of the model, the loss, or the strategy by name."""
    config = FitConfig(
        model=ModelConfig(name=str(model)), data=DataConfig(path=str(data)), loss=LossConfig()
    )
    for name, value in options.items():
        groups = [config.model, config.loss, config.strategy, config.trainer]
        owner = next(group for group in groups if hasattr(group, name))
        setattr(owner, name, value)
    return config


def check_waits(gpu: Gpu, steps: int, *, fused: bool = False) -> None:
    """The budget of the steps that were counted as `step`: one wait each, for the loss and the
    norm, which decide whether the weights may change.
    """
    waits = Counter[str]()
    for (phase, kind, place), count in gpu.events.items():
        if phase == "step" and kind.startswith("wait"):
            waits[place.split(":")[0]] += count
    assert waits.pop("whet/training/module.py") <= steps, gpu.report()
    assert sum(waits.values()) <= WAITS_OF_TILES * steps * fused, gpu.report()


def check_types(gpu: Gpu, phase: str) -> None:
    """Attention in 16 bits, on the tensor cores, and without padding where texts are encoded or
    learned from; and nothing in 64.
    """
    kinds = {kind for counted, kind in gpu.attention if counted == phase}
    assert kinds and all(kind.endswith("bfloat16") for kind in kinds), gpu.report()
    assert phase == "rescore" or all(kind.startswith("unpadded") for kind in kinds), gpu.report()
    assert not gpu.wide(phase), gpu.report()


def check_steps(gpu: Gpu, place: Place, *, count: int = 2, **options: Any) -> Steps:
    """Do some steps and look at all that a step may not do; gives them."""
    steps = Steps(gpu, config_of(place.model, place.data, **options), place.folder, count)
    assert len(steps.run()) == count
    check_waits(gpu, count - 1, fused="fused" in options)
    check_types(gpu, "step")
    return steps


def check_resume(gpu: Gpu, place: Place) -> None:
    """What goes on from a checkpoint ends with the weights, to the bit, of what never stopped:
    weights and the optimizer's state come back on the device, and dropout is drawn as before.
    """
    path = place.folder / "state.ckpt"
    config = config_of(place.model, place.data, dropout=0.2, learning_rate=1e-3)
    whole, again = (Steps(gpu, config, place.folder, 2) for _ in range(2))
    losses = whole.run([Keep(path, 1)])
    resumed = again.run(resume=path)
    assert resumed == losses[1:], f"losses {resumed}, not {losses[1:]}"
    for ours, theirs in zip(again.encoder.parameters(), whole.encoder.parameters(), strict=True):
        assert torch.equal(ours.cpu(), theirs.cpu())
