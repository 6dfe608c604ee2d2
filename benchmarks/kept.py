"""The rows a benchmark keeps: records/NAME.jsonl, a row a line, oldest first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "records"


class Records:
    """The file of one benchmark; `path` may be set to another."""

    def __init__(self, name: str) -> None:
        self.path = FOLDER / f"{name}.jsonl"

    def keep(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All rows; none where nothing was kept yet."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
