"""Where an interrupted training goes on: the newest whole checkpoint, also on another number of
processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from whet.config import FitConfig
from whet.config.recorded import refuse_other_options
from whet.errors import CheckpointError
from whet.processes.world import from_leader
from whet.storage.checkpoints import newest_whole
from whet.storage.commit import verify_folder
from whet.training.callbacks import STATE, facts_of_order
from whet.training.strategies import Strategy


@dataclass(frozen=True)
class Resume:
    """Where training goes on: the checkpoint's folder, its step, and the step its negatives are
    of.
    """

    folder: Path
    step: int
    negatives_step: int
    processes: int
    order: dict[str, Any]  # callbacks.facts_of_order
    config: dict[str, Any]  # the options that decide the result (whet.config.recorded)
    base: str  # fingerprint of the weights that training began with

    @property
    def state(self) -> Path:
        """What Lightning wrote: a file, or DeepSpeed's folder."""
        return self.folder / STATE


def find_resume(folder: Path) -> Resume | None:
    """The newest whole checkpoint of a run, if it has one; the same for all processes."""

    def find() -> Resume | None:
        newest = newest_whole(folder)
        if newest is None:
            return None
        facts = verify_folder(newest)
        for name in ("step", "negatives_step", "processes", "order", "steps", "config", "base"):
            if name not in facts:
                raise _lacks(newest, name)
        order = {name: facts[name] for name in ("order", "steps")}
        steps = facts["step"], facts["negatives_step"], facts["processes"]
        return Resume(newest, *steps, order, facts["config"], facts["base"])

    return from_leader(find)


def check_checkpoint(
    resume: Resume, module: Any, strategy: Strategy, config: FitConfig, base: str
) -> None:
    """CheckpointError if training from this checkpoint would not be the training that was begun;
    `base` is the fingerprint of the base model as it is here.
    """
    refuse_other_options(resume.config, config, str(resume.folder))
    if resume.base != base:
        raise CheckpointError(
            f"{resume.folder} is of a training that began with other weights than those of "
            f"model.name={config.model.name} here. Restore the model, or start a new run."
        )
    now = facts_of_order(module)
    if resume.order != now:
        raise CheckpointError(
            f"{resume.folder} is of a training with {resume.order}, and this one has {now}: pairs "
            "would be lost or repeated. Resume with the options it was begun with."
        )
    # DeepSpeed's folder of parts, which it checks itself.
    if not strategy.one_file:
        return
    # Mapped: only the names are looked at, and a large model is not read twice.
    state = torch.load(resume.state, map_location="cpu", mmap=True, weights_only=True)
    for name in ("global_step", "loops", "pytorch-lightning_version"):
        if name not in state:
            raise _lacks(resume.state, name)
    for name in ("state_dict", "optimizer_states", "lr_schedulers"):
        if not state.get(name):
            raise _lacks(resume.state, name)
    for number, optimizer in enumerate(state["optimizer_states"]):
        for name in ("state", "param_groups"):
            if not optimizer.get(name):
                raise _lacks(resume.state, f"optimizer_states[{number}][{name!r}]")
    for name in module.state_dict():
        if name not in state["state_dict"]:
            raise _lacks(resume.state, name)


def _lacks(path: Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"{path} lacks {name}: another version of whet wrote it, or another program changed it. "
        "Delete that checkpoint to go on from the one before, or start a new run."
    )
