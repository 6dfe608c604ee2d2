"""What the GPU code is to reach, as data, and whether the records say that it does.

A goal names a stage, a figure of it and a bound. It is met, missed or not measured; a figure of a
rehearsal never counts, since it never gets into the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Lines = Mapping[str, Mapping[str, Any]]  # the newest line of each stage


class Goal(NamedTuple):
    """A bound on a figure of a stage; `why` says what the figure is."""

    name: str
    stage: str
    figure: str
    bound: float
    why: str
    at_least: bool = True


class Verdict(NamedTuple):
    """A goal, the figure if there is one, and met, missed or not measured."""

    goal: Goal
    value: float | None
    word: str


SHARES = {384: 0.60, 768: 0.75}  # of the roof, by width
OVER_FAISS = {384: 1.8, 768: 1.3, 1024: 1.15}
MOST_MIB = 256
LEAST_MFU = 0.45
MODELS = ("minilm", "base", "large")


def _goals() -> tuple[Goal, ...]:
    roof = "a search's rate over that of cuBLAS's bf16 product of the same shape"
    faiss = "FAISS-GPU's time in bf16, filtered on the device, over Whet's"
    memory = "device memory beyond inputs and outputs, as torch counts it"
    encode = "texts to vectors, as a share of the data sheet's rate"
    rival = "texts per second end to end, over the other's in fp16 with SDPA"
    train = "whole steps by Lightning, as a share of the data sheet's rate"
    table = "mining table"
    found = [
        Goal(f"share of the roof, D={width}", table, f"D={width}, share of the roof", least, roof)
        for width, least in SHARES.items()
    ]
    found += [
        Goal(f"over FAISS-GPU, D={width}", table, f"D={width}, over FAISS", least, faiss)
        for width, least in OVER_FAISS.items()
    ]
    found += [
        Goal(f"MiB of a search, {kind}", "memory", f"search, {kind}, MiB", MOST_MIB, memory, False)
        for kind in ("on the device", "streamed")
    ]
    for model in MODELS:
        against = f"{model} 128 tokens, over sentence-transformers fp16"
        found += [
            Goal(f"MFU encoding, {model}", "encode", f"{model} 128 tokens, MFU", LEAST_MFU, encode),
            Goal(f"over sentence-tr., {model}", "encode beside others", against, 1.0, rival),
            Goal(f"MFU training, {model}", "train", f"{model} plain, MFU", LEAST_MFU, train),
        ]
    return tuple(found)


GOALS = _goals()


def judged(lines: Lines) -> list[Verdict]:
    """Every goal by the newest line of its stage. A figure of a stage that found something wrong is
    one that was not measured: a wrong answer has no speed.
    """
    return [Verdict(goal, value, _word(goal, value)) for goal, value in _values(lines)]


def _values(lines: Lines) -> list[tuple[Goal, float | None]]:
    found: list[tuple[Goal, float | None]] = []
    for goal in GOALS:
        line = lines.get(goal.stage, {})
        value = line.get("figures", {}).get(goal.figure)
        usable = isinstance(value, int | float) and line.get("status") != "wrong"
        found.append((goal, float(value) if usable else None))
    return found


def _word(goal: Goal, value: float | None) -> str:
    if value is None or value != value:
        return "not measured"
    return "met" if (value >= goal.bound if goal.at_least else value <= goal.bound) else "missed"


def shown(verdicts: list[Verdict]) -> list[str]:
    """The goals as lines for a terminal."""
    rows = []
    for goal, value, word in verdicts:
        sign = "at least" if goal.at_least else "at most"
        number = "" if value is None else f"{value:.3g}"
        rows.append(f"{goal.name:<33} {sign} {goal.bound:<5g} {number:>7}  {word}")
    return rows


def counts(verdicts: list[Verdict]) -> dict[str, int]:
    """How many are met, missed and not measured."""
    words = ("met", "missed", "not measured")
    return {word: sum(verdict.word == word for verdict in verdicts) for word in words}
