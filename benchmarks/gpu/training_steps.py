"""Training steps on a GPU: pairs per second, and the share of the device's rate.

Whole steps by Lightning: batches made, forward, loss, backward, optimizer. The work that counts is
three times that of the forward of the real tokens; GradCache's second forward is none.
"""

from __future__ import annotations

import statistics
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import made
import timing
import torch
from stages import Here

WARM_UP = 3  # steps


class Case(NamedTuple):
    """A training; `name` is what its figures are called."""

    name: str
    shape: str
    pairs: int
    cache: str = "never"
    workers: int = 2
    padded: bool = False


CASES = (
    Case("base plain", "base", 256),
    Case("minilm plain", "minilm", 512),
    Case("large plain", "large", 128),
    Case("base cached", "base", 256, "always"),
    Case("minilm cached", "minilm", 2048, "always"),
    Case("base plain, padded", "base", 256, padded=True),
    Case("minilm plain, padded", "minilm", 512, padded=True),
    Case("base, 0 workers", "base", 256, "never", 0),
    Case("base, 4 workers", "base", 256, "never", 4),
    Case("minilm, 0 workers", "minilm", 512, "never", 0),
    Case("minilm, 4 workers", "minilm", 512, "never", 4),
)
REHEARSED = (
    Case("tiny plain", "tiny", 8),
    Case("tiny cached", "tiny", 8, "always", 0),
    Case("tiny plain, padded", "tiny", 8, padded=True),
)


def steps(here: Here) -> None:
    """Each case: documents of 128 tokens, queries of 6, no hard negatives."""
    documents, tokens = (60, 12) if here.rehearsed else (20_000, 128)
    data = made.data(here.scratch, documents, tokens=tokens)
    for case in REHEARSED if here.rehearsed else CASES:
        try:
            seconds, flops = _timed(here, case, data)
        except torch.OutOfMemoryError:
            here.note(f"{case.name} is left out: not enough memory")
            torch.cuda.empty_cache()
            continue
        step = statistics.median(seconds[WARM_UP:] or seconds)
        here.figure(f"{case.name}, pairs/s", case.pairs / step)
        here.figure(f"{case.name}, TFLOP/s", flops / step / 1e12)
        share = timing.mfu(here, flops, step)
        if share is not None:
            here.figure(f"{case.name}, MFU", share)
        torch.cuda.empty_cache()


def _timed(here: Here, case: Case, data: Path) -> tuple[list[float], float]:
    """Seconds of each step, and the work of one."""
    from training import train_alone

    from whet.training.batches.order import Order

    config = config_of(case, 3 if here.rehearsed else 15)
    encoder, examples = parts_of(here, case.shape, data)
    order = Order(len(examples), case.pairs, config.seed)
    lengths = [len(row) for row in examples.batch(order.step(0), encoder).tokens]
    flops = 3 * timing.forward_flops(encoder, lengths)
    seconds: list[float] = []
    pad = timing.padding() if case.padded else nullcontext()
    with pad, tempfile.TemporaryDirectory(dir=here.scratch) as folder:
        train_alone(encoder, examples, config, Path(folder), step_done=seconds.append)
    return seconds, flops


def config_of(case: Case, count: int) -> Any:
    """The configuration of so many steps of a case."""
    from whet.config import FitConfig

    config = FitConfig()
    config.trainer.batch_size, config.trainer.max_steps = case.pairs, count
    config.trainer.num_workers, config.loss.cache = case.workers, case.cache
    config.trainer.max_epochs = 1000
    return config


def parts_of(here: Here, shape: str, data: Path) -> tuple[Any, Any]:
    """An encoder that cuts at 128 tokens, and the training pairs of a folder of data."""
    from whet.data.load import load_dataset
    from whet.model.encoder import Encoder
    from whet.training.batches.examples import Examples

    dataset = load_dataset(str(data))
    split = dataset.split("train")
    positives = dataset.positives(split)
    examples = Examples(split, positives, queries=dataset.queries, corpus=dataset.corpus)
    return Encoder.load(str(made.model(here.scratch, shape, length=128))), examples
