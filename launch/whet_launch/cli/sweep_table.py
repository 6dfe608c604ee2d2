"""What a sweep found: a line per run, printed and kept as sweep.md and sweep.json in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whet.errors import CheckpointError
from whet.storage.commit import write_atomically, write_json
from whet.storage.readable import readable_json

REMEDY = "Run that job of the sweep again"


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: its number, what was asked of it alone, its folder."""

    number: int
    overrides: tuple[str, ...]
    folder: Path


def outcome_of(folder: Path) -> dict[str, Any] | None:
    """The main measure that a fit or eval left, before and after; None where it left none."""
    try:
        if (folder / "comparison.json").is_file():
            record = readable_json(folder / "comparison.json", remedy=REMEDY)
            measure = record["main_measure"]
            row = next(row for row in record["rows"] if row["measure"] == measure)
            names = ("base", "tuned", "difference", "p_value")
            return {"measure": measure, **{name: float(row[name]) for name in names}}
        if (folder / "metrics.json").is_file():
            means = readable_json(folder / "metrics.json", remedy=REMEDY)["model"]
            measure, value = next(iter(means.items()))
            return {"measure": measure, "tuned": float(value)}
    except (CheckpointError, KeyError, TypeError, ValueError, StopIteration):
        pass
    return None


def value_of(folder: Path | None) -> float | None:
    """What a sweeper is told of a run, more being better: the tuned model's main measure; None, by
    which Optuna knows a failed run, where there is none.
    """
    outcome = outcome_of(folder) if folder is not None else None
    return None if outcome is None else float(outcome["tuned"])


def write_sweep(folder: Path, runs: list[SweepRun]) -> str | None:
    """Write sweep.json and sweep.md; the table to print, or None where no run left a figure."""
    records = [
        {
            "run": run.number,
            "options": list(run.overrides),
            "folder": str(run.folder),
            **(outcome_of(run.folder) or {"failed": True}),
        }
        for run in runs
    ]
    if not any("tuned" in record for record in records):
        return None
    lines = _table(records)
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    write_atomically(folder / "sweep.md", "".join(f"| {' | '.join(row)} |\n" for row in ruled))
    write_json(folder / "sweep.json", records)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _table(records: list[dict[str, Any]]) -> list[list[str]]:
    """The lines of the table with its head; the best run is marked."""
    measured = [record for record in records if "tuned" in record]
    best = max(measured, key=lambda record: record["tuned"])
    shared = set.intersection(*(set(record["options"]) for record in records))
    compared = "base" in best
    head = ["run", "options", best["measure"], *(["base", "change", "p"] if compared else []), ""]
    lines = [head]
    for record in records:
        own = " ".join(word for word in record["options"] if word not in shared)
        if "tuned" not in record:
            lines.append([str(record["run"]), own, "failed", *[""] * (len(head) - 3)])
            continue
        cells = [str(record["run"]), own, f"{record['tuned']:.4f}"]
        if compared:
            p_value = "<0.001" if record["p_value"] < 0.001 else f"{record['p_value']:.3f}"
            cells += [f"{record['base']:.4f}", f"{record['difference']:+.4f}", p_value]
        lines.append([*cells, "best" if record is best else ""])
    return lines
