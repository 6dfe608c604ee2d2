"""Where an interrupted training goes on: the newest whole checkpoint, also on another number of
processes.
"""

from __future__ import annotations

import shutil
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import DeepSpeedStrategy

from whet.checkpoint import newest_whole, verify_folder
from whet.progress import say
from whet.train.callbacks import STATE
from whet.world import from_leader, world


@dataclass(frozen=True)
class Resume:
    """Where training goes on: the checkpoint's folder, its step, and the step its negatives are
    of.
    """

    folder: Path
    step: int
    negatives_step: int
    processes: int


def find_resume(folder: Path) -> Resume | None:
    """The newest whole checkpoint of a run, if it has one; the same for all processes."""

    def find() -> Resume | None:
        newest = newest_whole(folder)
        if newest is None:
            return None
        facts = verify_folder(newest)
        return Resume(newest, facts["step"], facts["negatives_step"], facts.get("processes", 1))

    return from_leader(find)


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
