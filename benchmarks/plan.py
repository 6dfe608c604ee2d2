"""How far off is `whet plan`? It is asked before and after a fit of the same job, all with empty
caches, and the fit's seconds, steps and peak memory are set against it.

    python benchmarks/plan.py                         # the demo: 10 minutes on two cores
    python benchmarks/plan.py data=my/data trainer.max_steps=20
    python benchmarks/plan.py --table                 # the records alone
    python benchmarks/plan.py --quick                 # does it run?

Rows go to records/plan.jsonl. On a machine that others use too the three runs see different
machines: `others` is the share of the cores that other processes took meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import tiny
from kept import Records

RECORDS = Records("plan")
MIB = 1 << 20


def main() -> None:
    """Plan, fit, plan again; print and keep what was predicted and what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="of the job, as `whet fit` has them")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        with tiny.place(RECORDS) as here:
            words = [f"data={here.collection()}", f"model.name={here.model}"]
            RECORDS.keep(measured([*words, "trainer.max_steps=2", "trainer.batch_size=8"]))
            print(table())
        return
    if not options.table:
        RECORDS.keep(measured(options.words or ["experiment=demo"]))
    print(table())


def measured(words: list[str]) -> dict[str, Any]:
    """One row: what both plans said, what the fit itself foresaw, and what it took."""
    with tempfile.TemporaryDirectory() as work:
        before, ran = planned(words, f"{work}/before")
        run = f"{work}/run"
        took = timed(["fit", *words, f"output={run}"], f"{work}/fit")
        after, ran_after = planned(words, f"{work}/after")
        said = json.loads(Path(run, "plan.json").read_text())
    actual = {**said["actual"], "seconds": took["seconds"], "peak_bytes": took["peak_bytes"]}
    others = {"before": ran["others"], "fit": took["others"], "after": ran_after["others"]}
    return {
        "date": date.today().isoformat(),
        "job": " ".join(words),
        "cores": os.cpu_count(),
        "actual": actual,
        "before": before,
        "after": after,
        "by its first steps": said["predicted"],
        "others": others,
    }


def planned(words: list[str], cache: str) -> tuple[dict[str, Any], dict[str, float]]:
    """What `whet plan` kept, and what asking took."""
    ran = timed(["plan", *words], cache)
    kept = next(Path(cache, "plans").iterdir())
    return json.loads(kept.read_text()), ran


def timed(words: list[str], cache: str) -> dict[str, float]:
    """Seconds, peak memory, and the share of the cores that others had, of one `whet` command."""
    start, busy = time.monotonic(), busy_s()
    process = subprocess.Popen(
        [sys.executable, "-m", "whet_launch", *words], env={**os.environ, "WHET_CACHE": cache}
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"whet {' '.join(words)} ended with status {status}")
    seconds = time.monotonic() - start
    own = usage.ru_utime + usage.ru_stime
    others = max(0.0, busy_s() - busy - own) / seconds / (os.cpu_count() or 1)
    return {
        "seconds": round(seconds, 2),
        "peak_bytes": usage.ru_maxrss * 1024,
        "others": round(others, 3),
    }


def busy_s() -> float:
    """Seconds of all cores in which they were not idle."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, soft, steal = map(int, fields[:8])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def table() -> str:
    """A line a prediction, the latest record last."""
    rows = RECORDS.rows()
    lines = [
        "| job | predicted by | others had | seconds | of actual | a step | of actual | peak MiB |"
        " of actual |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        actual, steps = row["actual"], _steps(row)
        for by in ("before", "after", "by its first steps"):
            said = row[by]
            lines.append(
                f"| {row['job']} | {by} | {row['others'].get(by, row['others']['fit']):.0%} | "
                f"{said['seconds']:,.0f} | {said['seconds'] / actual['seconds']:.2f} | "
                f"{said['step_s']:.2f} | {said['step_s'] / steps:.2f} | "
                f"{said['peak_bytes'] / MIB:,.0f} | "
                f"{said['peak_bytes'] / actual['peak_bytes']:.2f} |"
            )
        lines.append(
            f"| {row['job']} | **actual** | {row['others']['fit']:.0%} | {actual['seconds']:,.0f} "
            f"| | {steps:.2f} | | {actual['peak_bytes'] / MIB:,.0f} | |"
        )
    return "\n".join(lines)


def _steps(row: dict[str, Any]) -> float:
    """Seconds of a step, as training took: its share of refreshes and checkpoints taken off."""
    said = row["before"]
    besides = 1 - said["steps"] * said["step_s"] / said["stages"]["train"]
    step_s: float = row["actual"]["stages"]["train"] * (1 - besides) / said["steps"]
    return step_s


if __name__ == "__main__":
    main()
