"""Rounds of measurements, the rows they become, and the file the rows are kept in.

Every method is timed next to the floor, which is the matrix product alone: floor, method, floor,
method, ... floor. A ratio is taken within a round, and the median over rounds is kept, so that what
else the machine does meanwhile meets both sides.
"""

from __future__ import annotations

import csv
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Run = Callable[[], Any]
SYMBOL = {True: "≥", False: "≤"}
CPU_FEATURES = "avx2 avx512f avx_vnni avx512_vnni amx_int8 asimd i8mm".split()
PACKAGES = {
    "torch": ("torch",),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12"),
    "triton": ("triton",),
    "numba": ("numba",),
    "numpy": ("numpy",),
    "sentence_transformers": ("sentence-transformers",),
}


class Took(NamedTuple):
    """Wall seconds and the CPU seconds of all threads."""

    wall: float
    cpu: float


Clock = Callable[[Run], Took]


class Sample(NamedTuple):
    """One call, and the floor next to it."""

    took: Took
    floor: Took


Samples = list[Sample]


def clock(run: Run) -> Took:
    """Time a call on the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def in_rounds(
    methods: dict[str, Run], floor: Run, rounds: int, *, timer: Clock = clock, scale: float = 1.0
) -> dict[str, Samples]:
    """Time every method in every round, forwards and backwards in turn, the floor before and after.

    `scale` is what the floor's times are multiplied by if it does a part of the work. Call every
    method once before, to warm up.
    """
    samples: dict[str, Samples] = {name: [] for name in methods}
    for number in range(rounds):
        before = timer(floor)
        for name in list(methods)[:: 1 if number % 2 == 0 else -1]:
            took = timer(methods[name])
            after = timer(floor)
            near = (scale * (a + b) / 2 for a, b in zip(before, after, strict=True))
            samples[name].append(Sample(took, Took(*near)))
            before = after
    return samples


def ratio(samples: Samples, others: Samples) -> Took:
    """Median over rounds of these times by the others' in the same round."""
    return _median_ratio(
        [(one.took, other.took) for one, other in zip(samples, others, strict=True)]
    )


def over_floor(samples: Samples) -> Took:
    """Median over rounds of the times by the floor's next to them."""
    return _median_ratio(list(samples))


def _median_ratio(pairs: list[Any]) -> Took:
    """Of pairs of times; 0 where the other side took none."""
    sides = zip(*((tuple(one), tuple(other)) for one, other in pairs), strict=True)
    ones, others = (list(zip(*side, strict=True)) for side in sides)
    return Took(
        *(
            statistics.median(a / b if b > 0 else 0.0 for a, b in zip(top, bottom, strict=True))
            for top, bottom in zip(ones, others, strict=True)
        )
    )


@dataclass(frozen=True)
class Goal:
    """A bound on one or two columns of a row: `at_least` or at most `limit`, better `stretch`."""

    columns: tuple[str, ...]
    limit: float
    stretch: float | None = None
    at_least: bool = False
    label: str = ""

    def __str__(self) -> str:
        better = f" ({self.stretch:g})" if self.stretch is not None else ""
        return f"{self.label} {SYMBOL[self.at_least]} {self.limit:g}{better}".strip()

    def met(self, row: Row) -> str:
        """`yes`, `no`, `stretch`, or which of the columns alone meets it."""
        values = {name: getattr(row, name) for name in self.columns}
        values = {name: value for name, value in values.items() if isinstance(value, float)}
        if not values:
            return "not measured"
        if self.stretch is not None and all(map(self._stretched, values.values())):
            return "stretch"
        ok = [name for name, value in values.items() if self._holds(value, self.limit)]
        if len(ok) == len(values):
            return "yes"
        return f"only {'CPU' if 'cpu' in ok[0] else 'wall'}" if ok else "no"

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.at_least else value <= limit

    def _stretched(self, value: float) -> bool:
        return self.stretch is not None and self._holds(value, self.stretch)


def floor_at_most(limit: float) -> Goal:
    """Time over the floor's."""
    return Goal(("x_floor", "x_floor_cpu"), limit, label="floor")


def faster_by(limit: float, stretch: float | None = None) -> Goal:
    """How many times as fast as what the row is set against."""
    return Goal(("ratio", "ratio_cpu"), limit, stretch, at_least=True, label="speed")


def time_at_most(limit: float) -> Goal:
    """Time over that of what the row is set against."""
    return Goal(("ratio", "ratio_cpu"), limit, label="time")


@dataclass
class Row:
    """One line of the results; empty text where something was not measured."""

    part: str  # cpu or gpu
    group: str  # which question it answers
    what: str
    data: str
    Q: int
    N: int
    D: int
    k: int
    filters: str  # on or off
    rounds: int = 0
    p20: float | str = ""  # wall seconds
    p50: float | str = ""
    p80: float | str = ""
    cpu_s: float | str = ""  # median CPU seconds of all threads
    x_floor: float | str = ""  # wall seconds by the floor's, median over rounds
    x_floor_cpu: float | str = ""  # the same of CPU seconds
    against: str = ""
    is_: str = ""  # speed: the other's time by this one's; time: the reverse
    ratio: float | str = ""
    ratio_cpu: float | str = ""
    exact: str = ""
    wrong: int | str = ""
    full: str = ""  # queries with all they asked for
    full_share: float | str = ""
    extra_mib: float | str = ""
    micros: float | str = ""  # microseconds a query outside the search
    goal: str = ""
    met: str = ""
    goals: tuple[Goal, ...] = field(default=(), repr=False)

    def timed(self, samples: Samples) -> Row:
        """The times and the ratio to the floor filled in."""
        walls = [sample.took.wall for sample in samples]
        self.rounds = len(walls)
        self.p20, self.p50, self.p80 = (float(np.quantile(walls, q)) for q in (0.2, 0.5, 0.8))
        self.cpu_s = statistics.median(sample.took.cpu for sample in samples)
        self.x_floor, self.x_floor_cpu = over_floor(samples)
        return self

    def compared(self, name: str, kind: str, found: Took) -> Row:
        """Set against another: `found` is that kind of ratio."""
        self.against, self.is_, (self.ratio, self.ratio_cpu) = name, kind, found
        return self

    def judged(self, *goals: Goal) -> Row:
        """The goals and whether they are met; GPU rows are judged by GPU time alone."""
        if self.part == "gpu":
            goals = tuple(
                Goal(one.columns[:1], one.limit, one.stretch, one.at_least, one.label)
                for one in goals
            )
        self.goals = goals
        self.goal = "; ".join(map(str, goals))
        self.met = "; ".join(goal.met(self) for goal in goals)
        return self


ROW_COLUMNS = [one.name for one in fields(Row) if one.name != "goals"]
MACHINE_COLUMNS = ["date", "commit", "device", "features", "threads", *PACKAGES]
COLUMNS = [*MACHINE_COLUMNS, *ROW_COLUMNS]


def machine(gpu: bool) -> dict[str, str]:
    """Date, commit, device and versions: what every row of a run shares."""
    import torch

    name = torch.cuda.get_device_name() if gpu else _cpu_name()
    capability = ".".join(map(str, torch.cuda.get_device_capability())) if gpu else ""
    features = f"sm {capability}, CUDA {torch.version.cuda}" if gpu else _cpu_features()
    shared = {name: _version(packages) for name, packages in PACKAGES.items()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "device": name,
        "features": features,
        "threads": str(torch.get_num_threads()),
        **shared,
    }


def _version(packages: tuple[str, ...]) -> str:
    for name in packages:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "none"


def _commit() -> str:
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _cpu_info() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = [line.partition(":") for line in reversed(lines) if ":" in line]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _cpu_name() -> str:
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


def _cpu_features() -> str:
    info = _cpu_info()
    have = set((info.get("flags") or info.get("Features") or "").split())
    return " ".join(name for name in CPU_FEATURES if name in have)


class Results:
    """The csv file: rows go in as soon as they are measured, so that an interrupted run keeps
    them.
    """

    def __init__(self, path: Path, shared: dict[str, str]) -> None:
        self.path, self.shared = path, shared

    def add(self, row: Row) -> None:
        """Append a row and say so."""
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            values = {name: _text(getattr(row, name)) for name in ROW_COLUMNS}
            writer.writerow({**self.shared, **values})
        seconds = f"{row.p50:.3f} s" if isinstance(row.p50, float) else ""
        shape = f"Q={row.Q:,} N={row.N:,} D={row.D} k={row.k}"
        say(f"{row.group}: {row.what}, {row.data} {shape} {seconds} {row.exact} {row.met}")


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def read(path: Path) -> list[dict[str, str]]:
    """All rows of a results file, oldest first."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def say(words: str) -> None:
    """Progress, on standard error."""
    print(words.rstrip(), file=sys.stderr, flush=True)


@cache
def say_once(words: str) -> None:
    """The same, but each sentence once."""
    say(words)
