"""The encoder as one process needs it to encode and to save: with all its weights."""

from __future__ import annotations

from typing import Any

import lightning as L

from whet.config import ModelConfig
from whet.model.encoder import Encoder
from whet.training.strategies import Strategy


class Whole(L.Callback):
    """Call it between two steps for the encoder with its weights of now, on every process at once.

    Where the strategy leaves each process the whole weights it is the trained encoder itself, else
    a second one that gets copies.
    """

    def __init__(self, encoder: Encoder, config: ModelConfig, strategy: Strategy) -> None:
        self.encoder = encoder
        self.config = config
        self.strategy = strategy
        self.copy: Encoder | None = None
        self.at_end: Encoder | None = None

    def __call__(self) -> Encoder:
        """The encoder, whole."""
        weights = self.strategy.whole_weights(self.encoder)
        if weights is None:
            return self.encoder
        if self.copy is None:
            self.copy = Encoder.load(self.config)
        self.copy.load_state_dict(weights)
        return self.copy

    def on_fit_end(self, trainer: L.Trainer, module: Any) -> None:
        """Gather the trained weights while the processes are still joined; also of a training that
        was resumed at its last step, which has no start and no end.
        """
        self.at_end = self()
