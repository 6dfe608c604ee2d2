"""Where an interrupted training goes on: the newest whole checkpoint, also on another number of
processes.
"""

from __future__ import annotations

import shutil
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DeepSpeedStrategy

from whet.config.recorded import refuse_other_options
from whet.config.schema import FitConfig
from whet.errors import CheckpointError
from whet.processes.world import from_leader, world
from whet.progress import say
from whet.storage.checkpoints import newest_whole
from whet.storage.commit import verify_folder
from whet.training.callbacks import STATE, facts_of_order


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
    resume: Resume, module: Any, strategy: Any, config: FitConfig, base: str
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
    if isinstance(strategy, DeepSpeedStrategy):  # a folder of parts, which it checks itself
        return
    state = torch.load(resume.folder / STATE, map_location="cpu", mmap=True, weights_only=True)
    for name in ("global_step", "loops", "pytorch-lightning_version"):
        if name not in state:
            raise _lacks(resume.folder / STATE, name)
    for name in ("state_dict", "optimizer_states", "lr_schedulers"):
        if not state.get(name):
            raise _lacks(resume.folder / STATE, name)
    for number, optimizer in enumerate(state["optimizer_states"]):
        for name in ("state", "param_groups"):
            if not optimizer.get(name):
                raise _lacks(resume.folder / STATE, f"optimizer_states[{number}][{name!r}]")
    for name in module.state_dict():
        if name not in state["state_dict"]:
            raise _lacks(resume.folder / STATE, name)


def _lacks(path: Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"{path} lacks {name}: another version of whet wrote it, or another program changed it. "
        "Delete that checkpoint to go on from the one before, or start a new run."
    )


def state_to_load(resume: Resume, strategy: Any) -> Path:
    """What the trainer loads: the checkpoint's state, divided anew where it was divided otherwise.

    DeepSpeed's parts belong to the number of processes that wrote them; its universal checkpoint
    (Lian et al., arXiv 2406.18820) is made from them once. All other strategies write one file.
    """
    state = resume.folder / STATE
    if not isinstance(strategy, DeepSpeedStrategy) or resume.processes == world().size:
        return state
    assert strategy.config is not None
    target = resume.folder.with_name(f"{resume.folder.name}.universal.tmp")
    stage = strategy.config["zero_optimization"]["stage"]
    from_leader(lambda: _to_universal(state, target, stage))
    strategy.config["checkpoint"] = {"load_universal": True}
    say(f"Dividing the checkpoint of {resume.processes} processes over {world().size}.")
    return target


def _to_universal(state: Path, target: Path, stage: int) -> None:
    from deepspeed.checkpoint.ds_to_universal import main

    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "checkpoint").symlink_to((state / "checkpoint").resolve())
    main(
        Namespace(
            input_folder=str(state / "checkpoint"),
            output_folder=str(target / "checkpoint_universal"),
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=stage <= 2,
        )
    )
    (target / "latest_universal").write_text("checkpoint_universal")
