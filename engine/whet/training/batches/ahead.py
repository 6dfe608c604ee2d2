"""Batches made ready while a step runs. Which pairs a step sees follows from the step, so it sees
the same whoever made its batch, and when.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from whet.training.batches.examples import Batch, Examples

if TYPE_CHECKING:
    import numpy as np

    from whet.model.encoder import Encoder


class Ahead:
    """Makes the batch of a step; with workers also those of the next steps, one per worker.

    `pairs(step)` are a step's pairs; there are `steps` of them.
    """

    def __init__(
        self,
        examples: Examples,
        encoder: Encoder,
        pairs: Callable[[int], np.ndarray],
        *,
        steps: int,
        workers: int,
    ) -> None:
        self.examples = examples
        self.encoder = encoder
        self.pairs = pairs
        self.steps = steps
        self.workers = workers
        self.pool = ThreadPoolExecutor(workers, "batches") if workers else None
        self.ready: dict[int, Future[Batch]] = {}
        self.made_with: np.ndarray | None = None  # the negatives that `ready` was made with
        self.own = threading.local()

    def batch(self, step: int) -> Batch:
        """The step's batch, with the negatives as they are now."""
        if self.pool is None:
            return self.examples.batch(self.pairs(step), self.encoder)
        if self.made_with is not self.examples.negatives_PK:
            self.ready.clear()
            self.made_with = self.examples.negatives_PK
        for number in range(step, min(step + 1 + self.workers, self.steps)):
            if number not in self.ready:
                self.ready[number] = self.pool.submit(self._make, number)
        return self.ready.pop(step).result()

    def _make(self, step: int) -> Batch:
        return self.examples.batch(self.pairs(step), self._tokenizing())

    def _tokenizing(self) -> Encoder:
        """The encoder with a tokenizer of this thread's own: they cannot be shared."""
        if not hasattr(self.own, "encoder"):
            # Not by copy.copy: fsdp gives the encoder a class that makes no second one.
            self.own.encoder = object.__new__(type(self.encoder))
            self.own.encoder.__dict__.update(self.encoder.__dict__)
            self.own.encoder.tokenizer = copy.deepcopy(self.encoder.tokenizer)
        own: Encoder = self.own.encoder
        return own

    def close(self) -> None:
        """Leave no thread behind."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
