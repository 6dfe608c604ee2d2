"""Which pairs make up step t: a pure function of (seed, epoch, position), so that a resumed run
sees what an uninterrupted one sees, on any number of devices.

Shape suffixes: P pairs, B pairs per step.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from whet.config import TrainerConfig


@dataclass(frozen=True)
class Order:
    """Every pair once per epoch, shuffled anew each epoch; an epoch's last step may be smaller."""

    pairs: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each pair is seen once."""
        return math.ceil(self.pairs / self.batch_size)

    def epoch_of(self, step: int) -> int:
        """The epoch step `step` (from 0) belongs to."""
        return step // self.steps_per_epoch

    @functools.lru_cache(maxsize=2)  # noqa: B019 (a few, small; a step would shuffle 79 ns per pair)
    def shuffled(self, epoch: int) -> np.ndarray:
        """The pairs of an epoch in their order, int64 [P], not to be written to.

        Philox is counter-based (Salmon et al., 2011): its stream depends on the key alone.

        >>> sorted(Order(5, 2, seed=1).shuffled(0).tolist())
        [0, 1, 2, 3, 4]
        """
        generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        order_P = generator.permutation(self.pairs)
        order_P.flags.writeable = False  # it is kept for the epoch's other steps
        return order_P

    def step(self, step: int) -> np.ndarray:
        """The pairs of a step's global batch, int64 [B]; rank r of W takes every W-th from r."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self.shuffled(epoch)[place * self.batch_size : (place + 1) * self.batch_size]

    def seen(self, steps: int) -> int:
        """Pairs in the first `steps` steps, one that comes again counted again.

        >>> [Order(10, 4, seed=0).seen(steps) for steps in (2, 3, 4)]
        [8, 10, 14]
        """
        epochs, rest = divmod(steps, self.steps_per_epoch)
        return epochs * self.pairs + min(rest * self.batch_size, self.pairs)


def pairs_read(order: Order, steps: int) -> np.ndarray:
    """The pairs that the first `steps` steps read, ascending, int64.

    >>> pairs_read(Order(5, 2, seed=1), 1).tolist() == sorted(Order(5, 2, seed=1).step(0).tolist())
    True
    """
    if steps >= order.steps_per_epoch:
        return np.arange(order.pairs)
    return np.sort(order.shuffled(0)[: steps * order.batch_size])


def total_steps(order: Order, trainer: TrainerConfig) -> int:
    """Optimizer steps of a whole run: all epochs, unless trainer.max_steps ends it before.

    >>> total_steps(Order(10, 4, seed=0), TrainerConfig(max_epochs=2, max_steps=-1))
    6
    """
    steps = order.steps_per_epoch * trainer.max_epochs
    return steps if trainer.max_steps < 0 else min(steps, trainer.max_steps)
