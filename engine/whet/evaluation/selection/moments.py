"""What is known of a run's moments: scores on dev and guard, and the best weights, in `moments/` of
the run folder until the choice is made.

A moment is a file step_N.json, its weights the folder weights_N: whole or absent both. So a run
that is resumed has those of the steps that its checkpoint holds, and judges the others again.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whet.errors import CheckpointError
from whet.evaluation.selection.guard import GuardSet
from whet.evaluation.selection.pool import PoolJudge
from whet.evaluation.selection.set_pools import PoolJudges
from whet.evaluation.selection.small_search import mean
from whet.evaluation.selection.weights import (
    Weights,
    read_weights,
    trained_weights,
    write_weights,
)
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.processes.world import from_leader, together, world
from whet.storage.commit import commit_folder, verify_folder, write_json
from whet.storage.readable import readable_json

if TYPE_CHECKING:
    from whet.training.callbacks import AtMoment

FOLDER = "moments"
WEIGHTS = "weights.safetensors"
REMEDY = "Start a new run."


@dataclass(frozen=True)
class Moment:
    """The model after some steps: each query's score on the dev pool, and on the guard set."""

    step: int
    dev: dict[str, float]
    guard: dict[str, float]
    stop: bool = False

    @property
    def score(self) -> float:
        """The mean on the dev pool."""
        return mean(self.dev)


def best_of(moments: list[Moment]) -> Moment:
    """The moment with the highest score; of equal ones the last."""
    return max(moments, key=lambda moment: (moment.score, moment.step))


class Keeper:
    """Judges the moments of one run, and keeps them (`whet.training.callbacks.Judge`).

    Every process of the job calls all methods alike; the leader writes.
    """

    def __init__(
        self,
        folder: Path,
        pool: PoolJudge | PoolJudges,
        guard: GuardSet | None,
        *,
        base: Moment,
        measure: str,
        patience: int,
        whole: Callable[[Encoder], Encoder | Towers],
    ) -> None:
        self.folder = folder / FOLDER
        self.checkpoints = folder / "checkpoints"
        self.pool = pool
        self.guard = guard
        self.base = base  # the model before training, as moment 0
        self.measure = measure
        self.patience = patience
        self.whole = whole  # the model that searches, with an encoder for its queries
        self.moments: list[Moment] = []

    def begin(self, step: int) -> None:
        """Training goes on after so many steps: those after it will be judged again."""

        def read() -> list[Moment]:
            kept = []
            for path in sorted(self.folder.glob("step_*.json")):
                moment = _read(path, self.base)
                if moment.step <= step:
                    kept.append(moment)
                else:
                    path.unlink()
            for place in self.folder.glob("weights_*"):
                if place.suffix == ".tmp" or _step_of(place) > step:
                    shutil.rmtree(place)
            return sorted(kept, key=lambda moment: moment.step)

        self.moments = from_leader(read)

    def stopped_at(self) -> int | None:
        """The step at which a moment stopped the training."""
        return next((moment.step for moment in self.moments if moment.stop), None)

    def judge(self, step: int, encoder: Encoder) -> AtMoment:
        """Judge, keep the weights where none were better, and say whether dev still rises."""
        from whet.training.callbacks import AtMoment  # with Lightning, which takes a second

        model = self.whole(encoder)
        dev = self.pool.judged(model)
        guard = self.guard.judged(model) if self.guard is not None else {}
        moment = Moment(step, dev, guard)
        before, now = self.moments, [*self.moments, moment]
        late = len(now) > self.patience and best_of(now).step <= now[-1 - self.patience].step
        moment = Moment(step, dev, guard, stop=late)
        self.moments = [*before, moment]
        weights = trained_weights(encoder) if best_of(self.moments) is moment else None
        from_leader(lambda: self._keep(moment, weights))
        return AtMoment(self._figures(moment), self._words(moment), moment.stop)

    def _keep(self, moment: Moment, weights: Weights | None) -> None:
        self.folder.mkdir(exist_ok=True)
        if weights is not None:
            with commit_folder(self._place(moment)) as draft:
                write_weights(draft / WEIGHTS, weights)
        write_json(self.folder / f"step_{moment.step:08d}.json", asdict(moment))
        self._forget_beaten()

    def _forget_beaten(self) -> None:
        """Delete weights that nobody will ask for: a run may go on from each of its checkpoints,
        and then needs the best of the moments up to there.
        """
        saved = [_step_of(path) for path in self.checkpoints.glob("step_*") if path.suffix == ""]
        wanted = {self._place(best_of(self.moments))}
        for step in saved:
            until = [moment for moment in self.moments if moment.step <= step]
            wanted |= {self._place(best_of(until))} if until else set()
        for place in self.folder.glob("weights_*"):
            if place not in wanted:
                shutil.rmtree(place)

    def weights_of(self, moment: Moment, like: Weights) -> Weights:
        """The weights of the best moment. CheckpointError where they are damaged."""

        def read() -> Weights:
            if world().leader:
                verify_folder(self._place(moment))
            return read_weights(self._place(moment) / WEIGHTS, like)

        return together(read)

    def _place(self, moment: Moment) -> Path:
        return self.folder / f"weights_{moment.step:08d}"

    def _figures(self, moment: Moment) -> dict[str, float]:
        guard = {"guard": mean(moment.guard)} if moment.guard else {}
        return {"dev": moment.score, **guard}

    def _words(self, moment: Moment) -> str:
        words = f"{self.measure} {moment.score:.4f} on the dev pool, {self.base.score:.4f} before"
        if moment.guard:
            words += f"; guard {mean(moment.guard):.4f}, {mean(self.base.guard):.4f} before"
        if moment.stop:
            times = "moment" if self.patience == 1 else f"{self.patience} moments"
            words += f". Dev has not risen for {times}: training stops here"
        return f"{words}."


def _step_of(place: Path) -> int:
    number = place.name.partition("_")[2]
    return int(number) if number.isdigit() else 0


def _read(path: Path, like: Moment) -> Moment:
    """A moment's file, which must be of the queries of `like`. CheckpointError where it is not."""
    record = readable_json(path, remedy=REMEDY)
    try:
        moment = Moment(**record)
        whole = (
            type(moment.step) is int
            and type(moment.stop) is bool
            and _are_scores(moment.dev, like.dev)
            and (not moment.guard or _are_scores(moment.guard, like.guard))
        )
    except (TypeError, AttributeError):
        whole = False
    if not whole:
        raise CheckpointError(f"{path} is not as it was written. {REMEDY}")
    return moment


def _are_scores(scores: Mapping[str, float], like: Mapping[str, float]) -> bool:
    numbers = all(type(value) in (int, float) and math.isfinite(value) for value in scores.values())
    return numbers and list(scores) == list(like)
