"""Fresh negatives while training goes on: somebody else encodes and mines with a snapshot of the
weights, and what they find is swapped in between two steps, in all processes at the same one.

ANCE (Xiong et al., arXiv 2007.00808, section 4) trains so, with two jobs started by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import lightning as L
import numpy as np
from torch import Tensor

from whet.processes.world import stacked, world
from whet.progress import say
from whet.training.callbacks import Log, NegativesInUse

if TYPE_CHECKING:
    from whet.model.encoder import Encoder

NONE = -1


class BackgroundMiner(Protocol):
    """Who mines beside the training. Only the leader of the processes talks to it."""

    def idle(self) -> bool:
        """Whether a snapshot can be given to it."""

    def submit(self, step: int, weights: dict[str, Tensor]) -> None:
        """Start mining with these weights, the snapshot of a step; returns at once."""

    def ready(self) -> int | None:
        """The snapshot whose negatives have been written since the last call, if any."""

    def close(self) -> None:
        """Stop, whatever is going on."""


class ContinuousRefresh(L.Callback):
    """Keep the miner at work, and swap in what it found.

    `whole()` is the encoder with all its weights on this process. Without a pause: optimizer and
    learning rate go on untouched.
    """

    def __init__(
        self,
        miner: BackgroundMiner | None,
        in_use: NegativesInUse,
        whole: Callable[[], Encoder],
        train_log: Log,
    ) -> None:
        self.miner = miner  # None in all processes but the leader
        self.in_use = in_use
        self.whole = whole
        self.train_log = train_log

    def on_train_batch_start(
        self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look whether negatives are ready, and whether the miner has nothing to do."""
        step = trainer.global_step
        ready, idle = self._asked()
        if ready != NONE:
            self._swap(module, ready, step)
        if idle and step > 0:  # the negatives of step 0 are mined before the training
            self._submit(step)

    def _asked(self) -> tuple[int, bool]:
        """What the leader heard from the miner, in every process."""
        ready: int | None = None
        idle = False
        if self.miner is not None:
            ready = self.miner.ready()
            idle = self.miner.idle()
        heard = stacked(np.array([NONE if ready is None else ready, idle]))[0]
        return int(heard[0]), bool(heard[1])

    def _swap(self, module: Any, mined_at: int, step: int) -> None:
        overlap = self.in_use.take(mined_at).overlap
        module.examples.set_negatives(self.in_use.negatives)
        self.train_log.figures = {
            "refresh_overlap": overlap,
            "refresh_age_steps": step - mined_at,
        }
        say(
            f"Step {step}: negatives mined with the weights of step {mined_at}; "
            f"{overlap:.0%} of them are those in use before."
        )

    def _submit(self, step: int) -> None:
        encoder = self.whole()  # where weights are sharded, every process gathers them
        if self.miner is not None:
            weights = encoder.state_dict()
            self.miner.submit(step, {name: w.detach().cpu().clone() for name, w in weights.items()})

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        """What is still being mined comes too late."""
        if self.miner is not None:
            self.miner.close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        """Leave nobody at work."""
        if self.miner is not None:
            self.miner.close()


def leader_only(miner: Callable[[], BackgroundMiner]) -> BackgroundMiner | None:
    """The miner in the leader, None in the others."""
    return miner() if world().leader else None
