"""The mining benchmark runs, and every way to search it times gives the exact answer."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "benchmarks" / "mine" / "run.py"
GROUPS = {"search", "k", "filters", "warm refresh", "growth", "outside the search", "end to end"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_quick_run_fills_the_table_with_exact_rows(tmp_path: Path) -> None:
    results = tmp_path / "results.csv"
    command = [sys.executable, str(RUN), "--only", "cpu", "--quick", "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with results.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} >= GROUPS
    assert len(rows) == len({tuple(row.values()) for row in rows})
    for row in rows:
        if row["what"].startswith("whet"):
            assert row["exact"] == "yes", row
            assert row["full"] == f"{row['Q']}/{row['Q']}" or row["group"] == "k", row
        elif not row["what"].startswith("floor") and row["data"] != "weak":
            assert row["exact"] == "yes", row  # the others filter too late where positives are weak
        cells = [row["what"], row["data"], f"{int(row['N']):,}", f"{int(row['k']):,}"]
        assert any(
            all(f"| {cell} |" in line for cell in cells) for line in done.stdout.splitlines()
        )
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8").startswith("<svg")
