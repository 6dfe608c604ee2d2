"""Mining beside the training: in a process of its own, with snapshots of the weights.

`SnapshotMiner` is the worker: it opens the job's data once and mines for every snapshot it is
given. `ChildMiner` runs one on this machine; the launcher has one that runs on a cluster.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from torch import Tensor

from whet.config import FitConfig
from whet.job import SCRATCH, open_job, write_mined
from whet.model.encoder import Encoder
from whet.progress import say
from whet.stages import mine_with
from whet.types import Negatives
from whet.world import from_leader, together


class SnapshotMiner:
    """Mines for snapshots of one job's weights, and writes the negatives into its run folder.

    Of several processes joined in a world of their own, each holds a part of the corpus.
    """

    def __init__(self, config: FitConfig, folder: Path) -> None:
        self.job = open_job(config, folder)
        self.encoder = together(lambda: Encoder.load(config.model)).eval()
        self.scratch = folder / SCRATCH / "snapshots"
        self.previous: Negatives | None = None

    def mine(self, step: int, weights: dict[str, Tensor]) -> int:
        """Encode and mine with the weights of a step; returns the step when all is written."""
        self.encoder.load_state_dict(weights)
        job = self.job
        mined = mine_with(
            self.encoder,
            job.data,
            job.train,
            job.positives,
            store=self.scratch,
            policy=job.config.mining,
            encode=job.config.encode,
            refresh=step,
            previous=self.previous,
            pace=job.pace,
        )
        self.previous = mined.negatives
        from_leader(lambda: shutil.rmtree(self.scratch, ignore_errors=True))
        write_mined(job, mined, self.encoder, step)
        return step


class ChildMiner:
    """A `whet.train.continuous.BackgroundMiner` in one more process on this machine."""

    def __init__(self, config: FitConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.pool = self._start()
        self.work: Future[int] | None = None

    def _start(self) -> ProcessPoolExecutor:
        """A process that opens the data while the training begins."""
        # not a fork: this process has threads, and may hold a GPU
        opens = _open_here, (self.config, self.folder)
        pool = ProcessPoolExecutor(1, get_context("spawn"), *opens)
        pool.submit(os.getpid)  # a pool starts its process with its first task
        return pool

    def idle(self) -> bool:
        """Whether nothing is being mined."""
        return self.work is None

    def submit(self, step: int, weights: dict[str, Tensor]) -> None:
        """Start mining."""
        arrays = {name: tensor.numpy() for name, tensor in weights.items()}
        try:
            self.work = self.pool.submit(_mine_here, step, arrays)
        except BrokenProcessPool:
            self._replace()

    def ready(self) -> int | None:
        """The step whose negatives are there, once."""
        if self.work is None or not self.work.done():
            return None
        work, self.work = self.work, None
        try:
            return work.result()
        except BrokenProcessPool:
            self._replace()
            return None

    def _replace(self) -> None:
        say("The process that mines beside the training died; a new one takes the next step.")
        self.pool = self._start()

    def close(self) -> None:
        """Kill the process: what it holds is a copy."""
        for process in list((self.pool._processes or {}).values()):
            process.kill()
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.work = None


_here: list[SnapshotMiner] = []


def _open_here(config: FitConfig, folder: Path) -> None:
    os.nice(5)  # the training comes first where both share the cores
    _here.append(SnapshotMiner(config, folder))


def _mine_here(step: int, arrays: dict[str, Any]) -> int:
    import torch

    return _here[0].mine(step, {name: torch.from_numpy(a) for name, a in arrays.items()})
