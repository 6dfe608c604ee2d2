"""What makes two runs of one recipe equal to the bit, and when that cannot be had.

Which pairs a step sees and its dropout are functions of (seed, step). What is left are sums whose
order is not fixed: of threads that add into one place, of processes that are given more because
they were faster, and of vectors that were encoded in other batches.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whet.config import FitConfig
from whet.encoding.store import embeddings_folder
from whet.processes.world import world


def is_deterministic(config: FitConfig) -> bool:
    """Whether the same bits are asked for: as trainer.deterministic says, else where a CPU trains,
    where it costs nothing (benchmarks/determinism.py).
    """
    if config.trainer.deterministic is not None:
        return config.trainer.deterministic
    from whet.processes.devices import training_device

    return training_device(config.trainer).type == "cpu"


def what_stands_against(config: FitConfig) -> list[str]:
    """Why two runs may differ in bits all the same; empty where they may not."""
    reasons = []
    if not is_deterministic(config):
        reasons.append("trainer.deterministic is off")
    if config.refresh.policy == "continuous":
        reasons.append("refresh=continuous swaps negatives in when they are there, by the clock")
    return reasons


@contextmanager
def fixed_order(config: FitConfig) -> Iterator[None]:
    """Have torch add in one order for the block, where that is asked for.

    An operation that has no such way warns. On two threads the gradient of 512 rows taken from 40
    (queries with several pairs in one large batch) differed in 2 to 187 of 200 tries, by
    how busy the cores were.
    """
    import torch

    if not is_deterministic(config):
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling what is written next anyway costs time; nothing here reads what was never written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = before[2]  # type: ignore[attr-defined]


def base_store(config: FitConfig, digest: str) -> Path:
    """Where vectors of the model before training are kept; `digest` is that of the data.

    A text's vector differs in the last bits with the texts it shares a batch with, the threads and
    the library. So a run that is to be repeatable reads no vectors but those of runs that encoded
    the same texts in the same order in the same way.
    """
    if not is_deterministic(config):
        return embeddings_folder()
    import torch

    # All that may change the last bits of a vector. The seed is not among them: sweeps share a
    # store.
    way: list[Any] = [
        digest,
        config.data.train_split,
        config.data.eval_split,
        config.encode.batch_tokens,
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
        world().size,
    ]
    if config.select.policy == "dev":  # its queries are encoded before those that are learned from
        way += [asdict(config.select), config.seed]
    return embeddings_folder() / hashlib.sha256(json.dumps(way).encode()).hexdigest()[:16]
