"""What is checked and measured, in which order, and how long each may take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple


class Stage(NamedTuple):
    """A function by its place, and the most seconds it may take on a GPU."""

    name: str
    place: str  # MODULE:FUNCTION
    seconds: float
    group: str  # which question it is part of

    def run(self, here: Here) -> None:
        """Do it in this process."""
        module, _, function = self.place.partition(":")
        getattr(import_module(module), function)(here)


class LeftOut(Exception):
    """Why a stage cannot be done here."""


@dataclass
class Here:
    """What a stage is given, and whom it tells what it finds.

    Figures are told as they are found, so that a stage that is stopped or dies keeps those it had.
    """

    rehearsed: bool  # tiny shapes on a pretended device: times mean nothing
    out: Path  # logs and profiles
    scratch: Path  # models and data, shared by the stages of a call
    seconds: float = 60.0  # that this stage may take
    peak: float | None = None  # dense 16-bit FLOP/s of the device, which MFU is a share of
    tell: Callable[[str, Any], None] = field(default=print)

    def figure(self, name: str, value: Any) -> None:
        """Keep a figure; numbers to six digits."""
        self.tell("figure", (name, float(f"{value:.6g}") if isinstance(value, float) else value))

    def wrong(self, what: str) -> None:
        """Say what is not as it must be; the stage goes on."""
        self.tell("wrong", what)

    def note(self, what: str) -> None:
        """Say what a reader should know, a case that was left out, say."""
        self.tell("note", what)

    def needs(self, *modules: str) -> None:
        """Leave the stage out where a package is missing."""
        lacking = [name for name in modules if find_spec(name) is None]
        if lacking:
            raise LeftOut(f"needs {', '.join(lacking)}, not installed here")


# Correctness first: a wrong answer makes every time after it worthless.
STAGES = (
    Stage("ceilings", "machine:ceilings", 60, "machine"),
    Stage("compile", "machine:compile_kernels", 150, "machine"),
    Stage("mining is right", "right:mining", 120, "right"),
    Stage("loss is right", "right:loss", 60, "right"),
    Stage("cached gradients are right", "right:gradients", 30, "right"),
    Stage("vectors are right", "right:vectors", 60, "right"),
    Stage("fit is right", "right:fit", 120, "right"),
    Stage("memory check", "outside:memory_check", 240, "right"),
    Stage("gpu tests", "outside:gpu_tests", 150, "right"),
    Stage("kernel tests", "outside:kernel_tests", 300, "right"),
    Stage("mining inside", "mining:inside", 90, "mining"),
    Stage("mining table", "outside:mining_table", 420, "mining"),
    Stage("mining table more", "outside:mining_table_more", 200, "mining"),
    Stage("encode", "encoding:alone", 240, "speed"),
    Stage("encode ways", "encoding:ways", 240, "speed"),
    Stage("encode beside others", "encoding:beside_others", 300, "speed"),
    Stage("train", "training_steps:steps", 240, "speed"),
    Stage("loss", "losses:speed", 60, "speed"),
    Stage("memory", "memory:peaks", 90, "speed"),
    Stage("demo", "fits:demo", 240, "fits"),
    Stage("refresh beside", "fits:continuous", 180, "fits"),
    Stage("fsdp", "fits:fsdp", 120, "fits"),
    Stage("zero offload", "fits:zero_offload", 180, "fits"),
)
GROUPS = tuple(dict.fromkeys(stage.group for stage in STAGES))


def chosen(words: Iterable[str]) -> list[Stage]:
    """The stages of these groups and names, in their order; all for none. A name may have dashes in
    place of blanks. ValueError for a word that is neither.

    >>> [stage.name for stage in chosen(["loss", "fit-is-right"])]
    ['fit is right', 'loss']
    """
    asked = [word.replace("-", " ") for word in words]
    unknown = set(asked) - set(GROUPS) - {stage.name for stage in STAGES}
    if unknown:
        names = ", ".join((*GROUPS, *(stage.name.replace(" ", "-") for stage in STAGES)))
        raise ValueError(f"No stage {', '.join(sorted(unknown))}. There are: {names}.")
    return [stage for stage in STAGES if not asked or stage.group in asked or stage.name in asked]
