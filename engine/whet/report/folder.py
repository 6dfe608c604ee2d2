"""What a report is made of, read from a run folder. Every part may be missing; its section is then
left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whet.errors import CheckpointError
from whet.printable import printable
from whet.storage.readable import readable_json, readable_text

REMEDY = "Restore it, or delete it: the report does without."
LONGEST = 1 << 40  # bytes of a file with a line per query or step: as many as there are


@dataclass(frozen=True)
class ReportInput:
    """Plain values only, as JSON holds them, so that a report can be made again from its folder.

    `comparison` is `Comparison.to_dict()`, with `changed_queries(...)` under "examples" if there
    are any; `per_query` the lines of per_query.jsonl; `metrics` system -> measure -> mean, shown
    when nothing is compared; `mining` the mining report as a dict; `train_log` rows such as
    {"step": 10, "loss": 0.7, "lr": 5e-5}; `environment` anything worth keeping, nested one level:
    data, model, versions, seconds (stage -> seconds) ...
    """

    title: str
    comparison: dict[str, Any] | None = None
    per_query: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] | None = None
    mining: dict[str, Any] | None = None
    train_log: list[dict[str, Any]] = field(default_factory=list)
    config: str | None = None  # YAML text
    environment: dict[str, Any] | None = None
    selection: dict[str, Any] | None = None  # what came back, and what was tried


def read_run_folder(folder: str | Path) -> ReportInput:
    """Read what there is of a run folder's files.

    Raises CheckpointError when there is none of them, or one that is not JSON.
    """
    folder = Path(folder)
    environment = _json(folder / "environment.json")
    config = folder / "config.yaml"
    inputs = ReportInput(
        title=_title(folder, environment),
        comparison=_json(folder / "comparison.json"),
        per_query=_json_lines(folder / "per_query.jsonl"),
        metrics=_json(folder / "metrics.json"),
        mining=_json(folder / "mining_report.json"),
        train_log=_json_lines(folder / "train_log.jsonl"),
        config=readable_text(config, remedy=REMEDY) if config.exists() else None,
        environment=environment,
        selection=_json(folder / "selection.json"),
    )
    if inputs == ReportInput(title=inputs.title):
        raise CheckpointError(
            f"{folder} is not a run folder: it has no metrics.json, comparison.json or their like. "
            "Give the folder that whet fit wrote."
        )
    return inputs


def _title(folder: Path, environment: dict[str, Any] | None) -> str:
    """The data's name, else the folder's."""
    data = (environment or {}).get("data")
    name = data.get("name") if isinstance(data, dict) else None
    return str(name or folder.resolve().name)


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    value: dict[str, Any] = readable_json(path, remedy=REMEDY)
    return value


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines' objects. A last line without its end is left out: a killed job may leave one."""
    text = readable_text(path, remedy=REMEDY, most=LONGEST) if path.exists() else ""
    rows = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as problem:
            raise CheckpointError(
                f"{printable(path)} is damaged: no JSON (line {number}: {problem}). {REMEDY}"
            ) from problem
    return [row for row in rows if isinstance(row, dict)]
