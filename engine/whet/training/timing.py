"""A few real training steps with the clock running, for `whet plan`."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from torch.utils.data import DataLoader

from whet.config import FitConfig, StrategyConfig
from whet.model.encoder import Encoder
from whet.training.batches.examples import Examples
from whet.training.callbacks import Clock
from whet.training.module import Contrastive
from whet.training.strategies import strategy_of
from whet.training.trainer import Ticks, quietly, trainer_of


@dataclass(frozen=True)
class TimedStep:
    """One step: its seconds, and what it computed on."""

    seconds: float
    pairs: int
    tokens: int


def timed_steps(
    encoder: Encoder, examples: Examples, config: FitConfig, *, pairs: int, enough_s: float
) -> list[TimedStep]:
    """One step of `pairs` pairs, and a second one if the first took less than `enough_s` seconds.

    The real step in one process: the encoder is trained by it, so give one that is not used again.
    The first step also allocates what later ones find.
    """
    order = replace(examples.order(config), batch_size=pairs)
    config = replace(config, strategy=StrategyConfig(name="single"))
    strategy = strategy_of(config.strategy, config.trainer.gradient_clip_val)
    seconds: list[float] = []
    clock = Clock(seconds.append, enough_s)
    with tempfile.TemporaryDirectory() as folder:
        # At most two: the first also allocates, so the second is nearer to the steps to come.
        trainer = trainer_of(config, Path(folder), strategy, [clock], 2)
        module = Contrastive(encoder, examples, order, config, strategy)
        quietly(trainer.fit, module, DataLoader(Ticks(), batch_size=None))
    timed = []
    for step, spent in enumerate(seconds):
        batch = examples.batch(order.step(step), encoder)
        tokens = sum(map(len, batch.tokens))
        timed.append(TimedStep(spent, len(batch.query_B), tokens))
    return timed
