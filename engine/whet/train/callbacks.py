"""What happens around the steps: log lines, fresh negatives, checkpoints, and stopping when
asked.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import numpy as np

from whet.checkpoint import commit_together, keep_newest, write_atomically
from whet.config import FitConfig, RefreshConfig
from whet.progress import say
from whet.types import Negatives
from whet.world import from_leader, stacked, world

if TYPE_CHECKING:
    from whet.model.encoder import Encoder

STATE = "state.ckpt"


class Remined(NamedTuple):
    """Fresh negatives, their overlap with those before, the share of the corpus encoded for
    them.
    """

    negatives: Negatives
    overlap: float
    encoded_share: float


Remine = Callable[[int, "Encoder"], Remined]
Probe = Callable[[int, "Encoder"], float]


class Log(L.Callback):
    """One JSON line every few steps in `train_log.jsonl`, and progress on the screen."""

    def __init__(self, path: Path, every: int, advance: Callable[..., None]) -> None:
        self.path = path
        self.every = every
        self.advance = advance
        self.figures: dict[str, float | str] = {}  # of the last refresh, once
        self.mined_at = 0

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """Drop lines of steps that will be done again, and what a kill left of the last one."""
        if not world().leader:
            return
        lines = self.path.read_text().split("\n")[:-1] if self.path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= trainer.global_step]
        write_atomically(self.path, "".join(line + "\n" for line in kept))

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the step's figures."""
        step = trainer.global_step
        place = (step - 1) % module.order.steps_per_epoch
        pairs = min(module.order.batch_size, module.order.pairs - place * module.order.batch_size)
        self.advance(pairs, loss=module.last_loss)
        if step % self.every and step != module.total_steps and not self.figures:
            return
        row = {
            "step": step,
            "epoch": round(step / module.order.steps_per_epoch, 4),
            "loss": module.last_loss,
            "lr": module.lr_schedulers().get_last_lr()[0],
            "negatives_age_steps": step - self.mined_at,
            **self.figures,
        }
        self.figures = {}
        if not world().leader:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


class Refresh(L.Callback):
    """Mine again with the weights as they are, and swap the negatives between two steps.

    `remine(step, encoder)` encodes, mines and saves. `probe(mined_at, encoder)` is the share of the
    negatives in use that the encoder would choose again, by a sample: policy=overlap mines when it
    is low. `whole()` is the encoder as it is, with all its weights on this process. Optimizer and
    learning rate go on untouched.
    """

    def __init__(
        self,
        config: RefreshConfig,
        remine: Remine,
        probe: Probe,
        whole: Callable[[], Encoder],
        train_log: Log,
    ) -> None:
        self.config = config
        self.remine = remine
        self.probe = probe
        self.whole = whole
        self.train_log = train_log

    def on_train_batch_start(
        self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Before step t, where t is a multiple of the period."""
        step = trainer.global_step
        policy = self.config.policy
        every = module.order.steps_per_epoch if policy == "epoch" else self.config.every_n_steps
        if policy == "off" or step == 0 or step % every:
            return
        encoder = self.whole()
        if policy == "overlap" and self._still_good(encoder, step):
            return
        fresh = self.remine(step, encoder)
        module.examples.set_negatives(fresh.negatives)
        age = step - self.train_log.mined_at
        self.train_log.mined_at = step
        self.train_log.figures |= {
            "refresh_overlap": fresh.overlap,
            "refresh_age_steps": age,
            "refresh_scope": self.config.scope,
            "refresh_encoded_share": fresh.encoded_share,
        }
        say(
            f"Step {step}: new negatives; {fresh.overlap:.0%} of them are those of {age} steps "
            f"ago. {fresh.encoded_share:.0%} of the corpus was encoded again."
        )

    def _still_good(self, encoder: Encoder, step: int) -> bool:
        overlap = self.probe(self.train_log.mined_at, encoder)
        self.train_log.figures = {"probe_overlap": overlap}
        say(f"Step {step}: of a sample, {overlap:.0%} of the negatives would be chosen again.")
        return overlap >= self.config.min_overlap


class Clock(L.Callback):
    """Tells the seconds of each step, from when its negatives are there to when the device is
    done. Once `enough_s` seconds went into one step, training stops.
    """

    def __init__(self, told: Callable[[float], None], enough_s: float = float("inf")) -> None:
        self.told = told
        self.enough_s = enough_s
        self.start = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step begins; callbacks named before this one have done theirs."""
        self.start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is over: its loss is a number, so the device has computed it."""
        seconds = time.perf_counter() - self.start
        self.told(seconds)
        if seconds >= self.enough_s:
            trainer.should_stop = True


class Checkpoints(L.Callback):
    """Commit what a resume needs, every so many steps or seconds, and when the user interrupts."""

    def __init__(self, folder: Path, config: FitConfig, train_log: Log) -> None:
        self.folder = folder
        self.every_steps = config.trainer.checkpoint_every_steps
        self.every_s = config.trainer.checkpoint_every_s
        self.train_log = train_log
        self.saved_at = time.monotonic()
        self.stop_signal = 0
        self.previous: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """From now on Ctrl-C finishes the step and saves; a second one ends at once."""
        self.saved_at = time.monotonic()
        self.previous = {
            number: signal.signal(number, self._asked_to_stop)
            for number in (signal.SIGINT, signal.SIGTERM)
        }

    def _asked_to_stop(self, number: int, frame: Any) -> None:
        if self.stop_signal:
            os._exit(130)
        self.stop_signal = number
        say("Stopping after this step; once more to stop at once.")

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time."""
        step = trainer.global_step
        due = bool(self.every_steps) and step % self.every_steps == 0
        late = world().leader and time.monotonic() - self.saved_at >= self.every_s
        late, self.stop_signal = np.max(stacked(np.array([late, self.stop_signal])), axis=0)
        if (due or late) and step < module.total_steps:
            self._save(trainer, step)
        if self.stop_signal:
            trainer.should_stop = True

    def _save(self, trainer: L.Trainer, step: int) -> None:
        facts = {
            "step": step,
            "negatives_step": self.train_log.mined_at,
            "processes": world().size,
        }
        with commit_together(self.folder / f"step_{step:08d}", facts) as draft:
            trainer.save_checkpoint(draft / STATE)
        from_leader(lambda: keep_newest(self.folder, 2))
        self.saved_at = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        """Save what was reached, so that judging can be interrupted too; give signals back."""
        self._save(trainer, trainer.global_step)
        self._restore_signals()

    def _restore_signals(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore_signals()
