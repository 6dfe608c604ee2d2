"""What each process of test_strategies.py does: a few real training steps, their gradients kept."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from whet.config import (
    DataConfig,
    DistillConfig,
    FitConfig,
    LossConfig,
    ModelConfig,
    StrategyConfig,
)
from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.data.splits import training_qrels
from whet.encoding.store import embeddings_folder
from whet.model.encoder import Encoder
from whet.training.batches.aids import aids_of
from whet.training.batches.examples import Examples
from whet.training.batches.order import Order
from whet.training.module import Contrastive
from whet.training.strategies import strategy_of
from whet.training.trainer import Ticks, trainer_of
from whet.training.whole import Whole
from whet.types import Negatives


def trained(
    data: str, model: str, strategy: dict[str, Any], loss: dict[str, Any], steps: int
) -> tuple[dict[str, np.ndarray], list[float]]:
    """Weights after `steps` steps, and the loss of each step. Of `loss`, `teacher` and `train` are
    options of other groups.
    """
    loss = dict(loss)
    distill = DistillConfig(loss.pop("teacher", None), weight=0.5)
    config = FitConfig(
        data=DataConfig(path=data),
        model=ModelConfig(name=model, dropout=0.0, train=loss.pop("train", "both")),
        loss=LossConfig(**loss),
        distill=distill,
        strategy=StrategyConfig(**strategy),
    )
    config.trainer = replace(
        config.trainer, batch_size=13, max_steps=steps, learning_rate=1e-3, warmup_ratio=0.0
    )
    encoder, losses = _train(config)
    return _weights(encoder), losses


def moved_in_bf16(
    data: str, model: str, strategy: dict[str, Any], lora_rank: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights before and after a step in bf16 of 1e-6 for each: of most a 60th of what bf16 tells
    apart.
    """
    config = FitConfig(
        data=DataConfig(path=data),
        model=ModelConfig(name=model, dropout=0.0, lora_rank=lora_rank),
        strategy=StrategyConfig(**strategy),
    )
    config.trainer = replace(
        config.trainer,
        batch_size=13,
        max_steps=1,
        learning_rate=1e-6,
        weight_decay=0.0,
        precision="bf16-mixed",
    )
    torch.manual_seed(0)
    before = _weights(Encoder.load(config.model))
    torch.manual_seed(0)
    return before, _weights(_train(config)[0])


def _weights(encoder: Encoder) -> dict[str, np.ndarray]:
    return {name: p.detach().cpu().numpy() for name, p in encoder.named_parameters()}


def _train(config: FitConfig) -> tuple[Encoder, list[float]]:
    """The encoder, whole, after the configured steps, and the loss of each."""
    loaded = load_dataset(config.data.path)
    qrels = training_qrels(loaded, "train")
    positives = positives_of(qrels, loaded.queries, loaded.corpus)
    aids = aids_of(config, loaded, embeddings_folder())
    examples = Examples(qrels, positives, queries=loaded.queries, corpus=loaded.corpus, aids=aids)
    picks = torch.Generator().manual_seed(0)
    rows = qrels.relevant().query_rows
    picked = torch.randint(0, len(loaded.corpus), (len(rows), 2), generator=picks).numpy()
    blank = picked * 0.0
    examples.set_negatives(Negatives(rows, picked, blank, blank.astype(int), blank[:, 0]))
    encoder = Encoder.load(config.model)
    strategy_in_use = strategy_of(config.strategy, config.trainer.gradient_clip_val)
    order = Order(len(examples), 13, 0)
    module = Contrastive(encoder, examples, order, config, strategy_in_use)
    whole, losses = Whole(encoder, config.model, strategy_in_use), Losses()
    with tempfile.TemporaryDirectory() as folder:
        callbacks, steps = [losses, whole], config.trainer.max_steps
        trainer = trainer_of(config, Path(folder), strategy_in_use, callbacks, steps)
        trainer.fit(module, DataLoader(Ticks(), batch_size=None))
    assert whole.at_end is not None
    return whole.at_end, losses.values


def gathers(
    data: str, model: str, kept_whole: int, chunk_tokens: int
) -> tuple[dict[str, np.ndarray], int]:
    """Weights after a cached step under fsdp, and how often weights or vectors were gathered."""
    from whet.training.strategies import fsdp

    fsdp.KEPT_WHOLE = kept_whole  # type: ignore[attr-defined]
    loss = {"cache": "always", "chunk_tokens": chunk_tokens}
    with Gathers() as seen:
        weights, _ = trained(data, model, {"name": "fsdp"}, loss, 1)
    return weights, seen.count


class Gathers(TorchDispatchMode):
    """Counts what is gathered into one tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "allgather_base" in str(func)
        return func(*args, **(kwargs or {}))


class Losses(L.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.values.append(module.last_loss)
