"""Mining beside the training, in processes of its own, with snapshots of the weights.

The trainer leaves `step_X.safetensors` in the run folder's scratch; a miner takes the newest,
mines, writes the negatives where all negatives of the run are, and then `step_X.done`. Nothing else
passes between them: the miner may be on another machine that sees the folder, and either may die.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from torch import Tensor

from whet.config import FitConfig
from whet.model.encoder import Encoder
from whet.model.folder import disk_errors
from whet.processes.world import from_leader, together
from whet.progress import say
from whet.refresh import Refresher
from whet.run.job import open_job, scratch_of
from whet.types import Negatives

LOOK_EVERY_S = 0.1
RETRY_S = 30.0  # after a snapshot that the disk had no room for
WEIGHTS, DONE = ".safetensors", ".done"


def snapshots_folder(folder: Path) -> Path:
    """Where the snapshots of a run folder are."""
    return scratch_of(folder) / "snapshots"


class FolderMiner:
    """A `whet.training.continuous.BackgroundMiner` that somebody else has started."""

    def __init__(self, folder: Path) -> None:
        self.folder = snapshots_folder(folder)
        shutil.rmtree(self.folder, ignore_errors=True)  # of a training that was killed
        self.folder.mkdir(parents=True)
        self.pending: int | None = None
        self.writer: threading.Thread | None = None
        self.closing = threading.Event()

    def idle(self) -> bool:
        """Whether nothing is being mined."""
        return self.pending is None

    def submit(self, step: int, weights: dict[str, Tensor]) -> None:
        """Leave a snapshot; it is written while the training goes on."""
        self.pending = step
        self.writer = threading.Thread(target=self._write, args=(step, weights))
        self.writer.start()

    def _write(self, step: int, weights: dict[str, Tensor]) -> None:
        from safetensors.torch import save_file

        draft = self.folder / f"step_{step:08d}.tmp"
        try:
            with disk_errors(draft):
                save_file(weights, draft)
            # The miner watches for the final name, so it never opens a half-written file.
            draft.rename(draft.with_suffix(WEIGHTS))
        except OSError as error:
            draft.unlink(missing_ok=True)
            say(
                f"Step {step}: no snapshot to mine with, {error.strerror}. Training goes on with "
                "the negatives it has; another one is tried later."
            )
            self.closing.wait(RETRY_S)
            self.pending = None

    def ready(self) -> int | None:
        """The step whose negatives are there, once."""
        if self.pending is None:
            return None
        done = self.folder / f"step_{self.pending:08d}{DONE}"
        if not done.exists():
            return None
        step, self.pending = self.pending, None
        done.with_suffix(WEIGHTS).unlink()
        done.unlink()
        return step

    def close(self) -> None:
        """Leave nothing behind."""
        self.closing.set()
        if self.writer is not None:
            self.writer.join()
        shutil.rmtree(self.folder, ignore_errors=True)


class ChildMiner(FolderMiner):
    """The same with a process of this machine that mines; if it dies, another takes its place."""

    def __init__(self, config: FitConfig, folder: Path) -> None:
        super().__init__(folder)
        self.arguments = config, folder, os.getpid()
        self._start()

    def _start(self) -> None:
        # not a fork: this process has threads, and may hold a GPU
        self.process = get_context("spawn").Process(target=_child, args=self.arguments)
        self.process.start()

    def ready(self) -> int | None:
        """The step whose negatives are there, once."""
        if not self.process.is_alive():
            say("The process that mines beside the training died; another takes its place.")
            self._start()
        return super().ready()

    def close(self) -> None:
        """Kill the process: what it holds is a copy."""
        self.process.kill()
        self.process.join()
        super().close()


def _child(config: FitConfig, folder: Path, parent: int) -> None:
    os.nice(5)  # the training comes first where both share the cores
    serve(config, folder, lambda: os.getppid() != parent)


def serve(config: FitConfig, folder: Path, ended: Callable[[], bool]) -> None:
    """Mine with the newest snapshot of a run, again and again, until `ended()`.

    Several processes joined in a world of their own share the corpus; each calls this.
    """
    job = open_job(config, folder)
    encoder = together(lambda: Encoder.load(config.model))
    refresher = Refresher(job, snapshots_folder(folder) / "store")
    refresher.start(encoder)
    previous: Negatives | None = None
    while (snapshot := from_leader(lambda: _newest(folder, ended))) is not None:
        together(lambda: _load(encoder, snapshot))
        step = int(snapshot.stem.removeprefix("step_"))
        previous = refresher.again(encoder, step, previous).mined.negatives
        from_leader(lambda: _finish(snapshot))


def _newest(folder: Path, ended: Callable[[], bool]) -> Path | None:
    """Wait for a snapshot that nobody has mined with."""
    while not ended():
        snapshots = sorted(snapshots_folder(folder).glob(f"step_*{WEIGHTS}"))
        if snapshots and not snapshots[-1].with_suffix(DONE).exists():
            return snapshots[-1]
        time.sleep(LOOK_EVERY_S)
    return None


def _load(encoder: Encoder, snapshot: Path) -> None:
    from safetensors.torch import load_file

    encoder.load_state_dict(load_file(snapshot))


def _finish(snapshot: Path) -> None:
    if snapshot.exists():  # else the training is over
        snapshot.with_suffix(DONE).touch()
