"""plan.json of a run: what its first steps promised, what `whet plan` said, and what it took."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from whet.config import FitConfig
from whet.data.load import Dataset
from whet.errors import CheckpointError
from whet.model.encoder import Encoder
from whet.plan.estimate import STATE_BYTES, Processes, StepCost, estimate, save_s
from whet.plan.machine import disk_bytes_s, peak_bytes
from whet.plan.make import UNKNOWN_LINK, plan_path
from whet.plan.probe import probe_encode, probe_search, with_words
from whet.plan.table import rough_duration
from whet.plan.workload import Split, workload_of
from whet.processes.devices import training_device
from whet.progress import say
from whet.run.determinism import base_store
from whet.storage.commit import write_json
from whet.storage.readable import readable_json

STEPS = 3  # measured after the first one, which also allocates what later ones find
ENCODING_S = 1.0  # spent on measuring how fast texts are encoded


class Forecast:
    """Predicts a run from its own first moments, and in the end compares.

    Made before the base model is judged, told of each step, closed with the seconds of the stages.
    An interrupted run keeps its first prediction.
    """

    def __init__(
        self, folder: Path, data: Dataset, split: Split, encoder: Encoder, config: FitConfig
    ) -> None:
        self.path = folder / "plan.json"
        self.config = config
        self.digest = data.digest
        self.written: dict[str, Any] = _kept(self.path)
        if "predicted" in self.written:
            return
        store = base_store(config, data.digest)
        self.work = workload_of(data, split, encoder, config, store=store)
        self.encode = probe_encode(data, split, encoder, config.encode, limit_s=ENCODING_S)
        self.search = probe_search(self.encode, config, self.work)
        if self.work.by_words:
            self.search = with_words(self.search, data, split)
        trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
        self.save_s = 0.0
        with suppress(OSError):  # no room to measure in
            self.save_s = save_s(trained, disk_bytes_s(folder))
        self.saved_bytes = STATE_BYTES * trained
        self.steps: list[float] = []

    def step_done(self, seconds: float) -> None:
        """A step of the training took so long; after a few the whole is predicted."""
        if "predicted" in self.written:
            return
        self.steps.append(seconds)
        if len(self.steps) > min(STEPS, self.work.steps - 1):
            self.written["predicted"] = self._predict(self.steps[1:] or self.steps)
            self._write()
            time_text = rough_duration(self.written["predicted"]["seconds"])
            say(f"All of it, judging included, takes about {time_text}.")

    def _predict(self, steps: list[float]) -> dict[str, Any]:
        step = StepCost(sum(steps) / len(steps), 0.0, self.save_s)
        prediction = estimate(
            self.work,
            self.encode,
            self.search,
            self.config,
            step=step,
            processes=Processes(self.config.launch.num_workers, UNKNOWN_LINK),
        )
        return {
            "after_steps": len(self.steps),
            "seconds": round(prediction.seconds, 2),
            "stages": {name: round(seconds, 2) for name, seconds in prediction.stages.items()},
            "step_s": step.alone_s,
            "peak_bytes": self._peak(),
        }

    def _peak(self) -> int:
        """The most held until now; where there is one memory a checkpoint is made in it besides."""
        device = training_device(self.config.trainer)
        return peak_bytes(device) + (self.saved_bytes if device.type == "cpu" else 0)

    def close(self, stages: dict[str, float]) -> None:
        """Write what the stages took beside what was predicted, and what `whet plan` said of the
        same job if it was asked.
        """
        seconds = sum(stages.values())
        planned = _kept(plan_path(self.config, self.digest))
        if planned:
            self.written["planned"] = planned
        self.written["actual"] = {
            "seconds": round(seconds, 2),
            "stages": stages,
            "peak_bytes": peak_bytes(training_device(self.config.trainer)),
        }
        self._write()

    def _write(self) -> None:
        with suppress(OSError):  # a disk that is full now may have room for the model in the end
            write_json(self.path, self.written)


def _kept(path: Path) -> dict[str, Any]:
    """A forecast that was written before; one that cannot be read is done without, in a line."""
    try:
        return readable_json(path, remedy="It is done without.") if path.exists() else {}
    except CheckpointError as error:
        say(str(error))
        return {}
