"""Training steps by Lightning on a GPU that is not there, and a budget of waits per step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pretend_cuda import Gpu
from torch.utils.data import DataLoader

from whet.config import FitConfig
from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.model.encoder import Encoder
from whet.training.batches.examples import Examples
from whet.training.batches.order import Order
from whet.training.module import Contrastive
from whet.training.strategies import strategy_of
from whet.training.trainer import quietly, trainer_of

STEPS = 4
LAYERS = 2  # of the tiny model: attention is called once in each
WAITS_OF_TILES = 12  # the fused loss sorts the known positives into its tiles


def train(gpu: Gpu, model: Path, data: Path, folder: Path, **options: Any) -> list[float]:
    """The losses of a few steps of 8 pairs; the steps after the first count as `step`."""
    import lightning as L

    config = FitConfig()
    config.trainer.batch_size, config.trainer.max_steps = 8, STEPS
    for name, value in options.items():
        setattr(config.loss, name, value)
    dataset = load_dataset(str(data))
    split = dataset.split("train")
    positives = positives_of(split, dataset.queries, dataset.corpus)
    examples = Examples(split, positives, queries=dataset.queries, corpus=dataset.corpus)
    losses: list[float] = []

    class Watch(L.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            gpu.phase = "step" if losses else "first step"

        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            losses.append(module.last_loss)
            gpu.phase = ""

    strategy = strategy_of(config.strategy, 1.0)
    order = Order(len(examples), 8, 0)
    module = Contrastive(Encoder.load(str(model)), examples, order, config, strategy)
    trainer = trainer_of(config, folder, strategy, [Watch()], STEPS)
    quietly(trainer.fit, module, DataLoader(range(STEPS), batch_size=None))
    return losses


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cache": "always", "chunk_tokens": 64},
        {"matryoshka_dims": [8, 16], "symmetric": True, "fused": "always"},
    ],
    ids=["plain", "cached", "fused"],
)
def test_a_step_waits_once(
    gpu: Gpu, tiny_model: Path, tiny_data: Path, tmp_path: Path, options: dict
) -> None:
    """For the loss and the norm, which decide whether the weights may change; and once per forward
    in transformers, which asks whether a mask masks anything.
    """
    losses = train(gpu, tiny_model, tiny_data, tmp_path, **options)
    assert len(losses) == STEPS
    waits = Counter[str]()
    for (phase, kind, place), count in gpu.events.items():
        if phase == "step" and kind.startswith("wait"):
            waits[place.split(":")[0]] += count
    steps = STEPS - 1
    forwards = sum(n for (phase, _), n in gpu.attention.items() if phase == "step") / LAYERS
    assert waits.pop("whet/model/encoder.py", 0) <= forwards, gpu.report()
    assert waits.pop("whet/training/module.py") <= steps, gpu.report()
    assert sum(waits.values()) <= WAITS_OF_TILES * steps * ("fused" in options), gpu.report()
