"""Which pairs make up step t: a pure function of (seed, epoch, position), so that a resumed run
sees what an uninterrupted one sees, on any number of devices.

Shape suffixes: P pairs, B pairs per step, S data sets, R pairs of one set in an epoch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from whet.config import FitConfig, TrainerConfig
from whet.data.joined import pairs_per_set
from whet.data.table import TextTable


@dataclass(frozen=True)
class Share:
    """Of one data set: its training pairs, and how many of each epoch's are of it."""

    pairs: int
    each_epoch: int


@dataclass(frozen=True)
class Order:
    """Every pair once per epoch, shuffled anew each epoch; an epoch's last step may be smaller.

    With `shares` the pairs are those of several data sets, one after another. An epoch has as many
    pairs as there are, of each set so many as its share says, in random places. A set's own pairs
    come in rounds: each once before any comes again, over the ends of epochs.
    """

    pairs: int
    batch_size: int
    seed: int
    shares: tuple[Share, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What decides it, as JSON has it: a checkpoint's, which a training that goes on must have.

        >>> Order(10, 4, seed=0).facts()
        {'pairs': 10, 'batch_size': 4, 'seed': 0}
        """
        plain = {"pairs": self.pairs, "batch_size": self.batch_size, "seed": self.seed}
        return {**plain, "shares": [asdict(one) for one in self.shares]} if self.shares else plain

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
        order_P = self._permutation(epoch, self.pairs) if not self.shares else self._mixed(epoch)
        order_P.flags.writeable = False  # it is kept for the epoch's other steps
        return order_P

    def _permutation(self, number: int, size: int, stream: int = 0) -> np.ndarray:
        philox = np.random.Philox(key=[self.seed, number], counter=[0, 0, 0, stream])
        return np.random.Generator(philox).permutation(size)

    def _mixed(self, epoch: int) -> np.ndarray:
        """Which set stands where is shuffled first; then each set fills its places in its order."""
        counts = [share.each_epoch for share in self.shares]
        set_P = np.repeat(np.arange(len(counts)), counts)[self._permutation(epoch, sum(counts))]
        order_P, first = np.empty(len(set_P), np.int64), 0
        for number, share in enumerate(self.shares):
            order_P[set_P == number] = first + self._of_set(number, epoch)
            first += share.pairs
        return order_P

    def _of_set(self, number: int, epoch: int) -> np.ndarray:
        """A set's pairs of an epoch in their order, counted from its first, int64 [R]."""
        share = self.shares[number]
        place_R = epoch * share.each_epoch + np.arange(share.each_epoch)
        round_R = place_R // share.pairs
        rounds = [
            self._permutation(int(one), share.pairs, stream=number + 1)[
                place_R[round_R == one] % share.pairs
            ]
            for one in np.unique(round_R)
        ]
        return np.concatenate(rounds)

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
    epochs, rest = divmod(steps, order.steps_per_epoch)
    if epochs and not order.shares:
        return np.arange(order.pairs)
    read = [order.shuffled(epoch) for epoch in range(epochs)]
    if rest:
        read.append(order.shuffled(epochs)[: rest * order.batch_size])
    return np.unique(np.concatenate(read)) if read else np.empty(0, np.int64)


def order_of(
    query_rows_P: np.ndarray, config: FitConfig, queries: TextTable | None = None
) -> Order:
    """The order of a job's training pairs, given by their rows of the query table, ascending.
    `queries` is that table, which tells the pairs of several data sets apart.
    """
    pairs, weights = len(query_rows_P), config.data.weights
    shares: tuple[Share, ...] = ()
    if weights and queries is not None:
        of_each = pairs_per_set(queries, query_rows_P)
        shares = tuple(map(Share, of_each, parted(pairs, weights)))
    return Order(pairs, config.trainer.batch_size, config.seed, shares)


def parted(total: int, weights: Sequence[float]) -> list[int]:
    """A number in whole parts by weights: by largest remainders, one at least for each.

    >>> parted(10, [2, 1]), parted(5, [1000, 1])
    ([7, 3], [4, 1])
    """
    exact_S = total * np.asarray(weights, np.float64) / math.fsum(weights)
    parts_S = np.maximum(1, np.floor(exact_S)).astype(np.int64)
    while (left := total - int(parts_S.sum())) != 0:
        # Who lacks most of its exact part gets one more; who is most over it gives one.
        rest_S = np.where((parts_S > 1) | (left > 0), exact_S - parts_S, np.inf)
        parts_S[int(rest_S.argmax() if left > 0 else rest_S.argmin())] += np.sign(left)
    parts: list[int] = parts_S.tolist()
    return parts


def total_steps(order: Order, trainer: TrainerConfig) -> int:
    """Optimizer steps of a whole run: all epochs, unless trainer.max_steps ends it before.

    >>> total_steps(Order(10, 4, seed=0), TrainerConfig(max_epochs=2, max_steps=-1))
    6
    """
    steps = order.steps_per_epoch * trainer.max_epochs
    return steps if trainer.max_steps < 0 else min(steps, trainer.max_steps)
