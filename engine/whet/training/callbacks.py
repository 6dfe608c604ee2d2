"""What happens around the steps: log lines, fresh negatives, moments, checkpoints, and stopping
when asked.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lightning as L
import numpy as np

from whet.config import FitConfig, RefreshConfig
from whet.config.recorded import deciding
from whet.errors import INTERRUPTED, CheckpointError
from whet.model.encoder import Encoder, weights_unchanged
from whet.printable import printable
from whet.processes.interrupts import Interrupts
from whet.processes.world import from_leader, stacked, world
from whet.progress import say
from whet.storage.checkpoints import keep_newest
from whet.storage.commit import commit_together, sync, write_atomically
from whet.types import Negatives

STATE = "state.ckpt"


class Swap(NamedTuple):
    """Negatives that took the place of others: the share of them that was in use before, and of the
    corpus that was encoded for them.
    """

    overlap: float
    encoded_share: float


class NegativesInUse(Protocol):
    """The negatives that the steps see, and how others take their place (whet.refresh.in_use)."""

    negatives: Negatives | None
    mined_at: int  # the step whose weights they were mined with

    def mine_again(self, step: int, encoder: Encoder) -> Swap:
        """Encode, mine and save with the weights of a step, while training waits; then use them."""
        ...

    def share_still_chosen(self, encoder: Encoder) -> float:
        """Of a sample, the share of those in use that the encoder would choose again."""
        ...

    def take(self, step: int) -> Swap:
        """Use those that somebody else has mined with the weights of a step, and saved."""
        ...


class AtMoment(NamedTuple):
    """What came of a moment: figures for the log, a line for people, and whether to go on."""

    figures: dict[str, float]
    words: str
    stop: bool


class Judge(Protocol):
    """Who judges the model while it trains, and keeps what came of it
    (whet.evaluation.selection.moments).
    """

    def begin(self, step: int) -> None:
        """Training goes on after so many steps: forget the moments after them."""

    def stopped_at(self) -> int | None:
        """The step at which a moment stopped the training, if one did."""

    def judge(self, step: int, encoder: Encoder) -> AtMoment:
        """Judge the model as it is after so many steps; every process of the job calls it."""


def moments_of(steps: int, count: int) -> list[int]:
    """The steps after which the model is judged: evenly spread, the last one among them.

    >>> moments_of(100, 4), moments_of(3, 4)
    ([25, 50, 75, 100], [1, 2, 3])
    """
    return sorted({-(-steps * moment // count) for moment in range(1, count + 1)})


def facts_of_order(module: Any) -> dict[str, Any]:
    """What decides which pairs a step sees and at what rate: a resume needs the same."""
    return {"order": module.order.facts(), "steps": module.total_steps}


class Log(L.Callback):
    """One JSON line every few steps in `train_log.jsonl`, and progress on the screen."""

    def __init__(
        self, path: Path, every: int, in_use: NegativesInUse, advance: Callable[..., None]
    ) -> None:
        self.path = path
        self.every = every
        self.in_use = in_use
        self.advance = advance
        self.figures: dict[str, float | str] = {}  # of the last refresh, once
        self.size = 0  # bytes of whole lines in the file
        self.waiting: list[str] = []  # lines the disk had no room for

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """Drop lines of steps that will be done again, and what a kill left of the last one."""
        if not world().leader:
            return
        lines = self.path.read_text().split("\n")[:-1] if self.path.exists() else []
        kept = [line for line in lines if self._step_of(line) <= trainer.global_step]
        text = "".join(line + "\n" for line in kept)
        write_atomically(self.path, text)
        self.size = len(text.encode())

    def _step_of(self, line: str) -> int:
        try:
            return int(json.loads(line)["step"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(
                f"{self.path} is damaged: {printable(line)[:60]!r} is no line of it. Move it away "
                "to go on with a new one."
            ) from error

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
            "negatives_age_steps": step - self.in_use.mined_at,
            **self.figures,
        }
        self.figures = {}
        if not world().leader:
            return
        self.waiting.append(json.dumps(row) + "\n")
        with suppress(OSError):  # no room for it now: `flush` tries again, and may fail
            self._write()

    def _write(self) -> None:
        with self.path.open("ab") as file:
            file.truncate(min(self.size, file.tell()))  # without what a full disk left of a line
            file.write("".join(self.waiting).encode())
            self.size = file.tell()
        self.waiting = []

    def flush(self) -> None:
        """Have every line so far on the disk, before a checkpoint that comes after them."""
        if self.waiting:
            self._write()
        if self.path.exists():
            sync(self.path)


class Refresh(L.Callback):
    """Mine again with the weights as they are, and swap the negatives between two steps.

    `whole()` is the encoder as it is, with all its weights on this process. Optimizer and learning
    rate go on untouched.
    """

    def __init__(
        self,
        config: RefreshConfig,
        in_use: NegativesInUse,
        whole: Callable[[], Encoder],
        train_log: Log,
    ) -> None:
        self.config = config
        self.in_use = in_use
        self.whole = whole
        self.train_log = train_log

    def on_train_batch_start(
        self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Before step t, where t is a multiple of the period."""
        step = trainer.global_step
        policy = self.config.policy
        every = module.order.steps_per_epoch if policy == "epoch" else self.config.every_n_steps
        # Step 0 has the negatives that were mined before training.
        if policy == "off" or step == 0 or step % every:
            return
        # All processes get here together: gathering sharded weights takes every one.
        encoder = self.whole()
        with weights_unchanged():
            if policy != "overlap" or not self._still_good(encoder, step):
                self._swap(module, encoder, step)

    def _swap(self, module: Any, encoder: Encoder, step: int) -> None:
        age = step - self.in_use.mined_at
        swap = self.in_use.mine_again(step, encoder)
        module.examples.set_negatives(self.in_use.negatives)
        self.train_log.figures |= {
            "refresh_overlap": swap.overlap,
            "refresh_age_steps": age,
            "refresh_scope": self.config.scope,
            "refresh_encoded_share": swap.encoded_share,
        }
        say(
            f"Step {step}: new negatives; {swap.overlap:.0%} of them are those of {age} steps "
            f"ago. {swap.encoded_share:.0%} of the corpus was encoded again."
        )

    def _still_good(self, encoder: Encoder, step: int) -> bool:
        overlap = self.in_use.share_still_chosen(encoder)
        self.train_log.figures = {"probe_overlap": overlap}
        say(f"Step {step}: of a sample, {overlap:.0%} of the negatives would be chosen again.")
        return overlap >= self.config.min_overlap


class Clock(L.Callback):
    """Tells the seconds of each step, from when its negatives are there to when the device is
    done. Once `enough_s` seconds went into one step, training stops.
    """

    def __init__(self, step_done: Callable[[float], None], enough_s: float = float("inf")) -> None:
        self.step_done = step_done
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
        self.step_done(seconds)
        if seconds >= self.enough_s:
            trainer.should_stop = True


class Moments(L.Callback):
    """Judge after some steps. `whole()` is the encoder as it is, with all its weights on this
    process. The `clock` of the steps leaves the judging out.
    """

    def __init__(
        self,
        judge: Judge,
        count: int,
        whole: Callable[[], Encoder],
        train_log: Log,
        clock: Clock,
    ) -> None:
        self.judge = judge
        self.count = count
        self.whole = whole
        self.train_log = train_log
        self.clock = clock

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After the step, and before its line is logged."""
        step, steps = trainer.global_step, module.total_steps
        if step not in moments_of(steps, self.count):
            return
        begun = time.perf_counter()
        encoder = self.whole()  # where weights are sharded, every process gathers them
        with weights_unchanged():
            judged = self.judge.judge(step, encoder)
        self.train_log.figures |= judged.figures
        for logger in trainer.loggers:
            logger.log_metrics(judged.figures, step)
        say(f"Step {step} of {steps}: {judged.words}")
        if judged.stop and step < steps:
            trainer.should_stop = True
        self.clock.start += time.perf_counter() - begun


class Checkpoints(L.Callback):
    """Commit what a resume needs, every so many steps or seconds, and when the user interrupts."""

    def __init__(self, folder: Path, config: FitConfig, train_log: Log, base: str) -> None:
        self.folder = folder
        self.begun = {"config": deciding(config), "base": base}
        self.every_steps = config.trainer.checkpoint_every_steps
        self.every_s = config.trainer.checkpoint_every_s
        self.train_log = train_log
        self.saved_at = time.monotonic()
        self.interrupts = Interrupts(self._announce_stop, partial(os._exit, INTERRUPTED))
        self.stop_signal = 0  # the first that any process got, the same for all
        self.failing = False

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """From now on Ctrl-C finishes the step and saves; a second one ends at once."""
        self.saved_at = time.monotonic()
        self.interrupts.listen()

    def _announce_stop(self) -> None:
        say("Stopping after this step; once more to stop at once.")

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time."""
        step = trainer.global_step
        due = bool(self.every_steps) and step % self.every_steps == 0
        late = world().leader and time.monotonic() - self.saved_at >= self.every_s
        late = self._agreed(late)
        if (due or late) and step < module.total_steps:
            self._save_if_it_fits(trainer, module)
        if self.stop_signal:
            trainer.should_stop = True

    def _agreed(self, late: bool) -> bool:
        """Whether some process finds that it is late; all also hear whether one was asked to stop.

        A signal that comes after this is heard of at the next step: all stop at the same one.
        """
        asked = next(iter(self.interrupts.received), 0)
        heard = np.max(stacked(np.array([late, asked])), axis=0)
        self.stop_signal = int(heard[1])
        return bool(heard[0])

    def _save_if_it_fits(self, trainer: L.Trainer, module: Any) -> None:
        """Save, or say that the disk does not take it and try again when it is time again."""
        try:
            self._save(trainer, module)
        except OSError as error:
            if world().size > 1:  # the others are waiting in the midst of theirs
                raise
            if not self.failing:
                say(
                    f"Step {trainer.global_step}: no checkpoint, {error.strerror or error}. "
                    f"Training goes on, and the next are tried; make room in {self.folder.parent}."
                )
            self.failing = True
            self.saved_at = time.monotonic()

    def _save(self, trainer: L.Trainer, module: Any) -> None:
        step = trainer.global_step
        facts = {
            "step": step,
            "negatives_step": self.train_log.in_use.mined_at,
            "processes": world().size,
            **self.begun,
            **facts_of_order(module),
        }
        # The log first: a resume cuts its lines after the checkpoint, and cannot bring back any
        # before it.
        from_leader(self.train_log.flush)
        with commit_together(self.folder / f"step_{step:08d}", facts) as draft:
            trainer.save_checkpoint(draft / STATE)
        # Two, because the newest may turn out damaged when it is read.
        from_leader(lambda: keep_newest(self.folder, 2))
        self.saved_at = time.monotonic()
        if self.failing:
            say(f"Step {step}: checkpoints are written again.")
        self.failing = False

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        """Save what was reached, so that judging can be interrupted too; give signals back."""
        self._save(trainer, module)
        self._agreed(False)
        self.interrupts.close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        """Give the signals back."""
        self.interrupts.close()
