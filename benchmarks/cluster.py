"""What several processes and each strategy cost and bring: step time, memory, time of each phase.

    python benchmarks/cluster.py            # here: 1 and 2 processes, every strategy
    python benchmarks/cluster.py --ray           # also what Ray adds to a step
    python benchmarks/cluster.py --table         # the table alone
    python benchmarks/cluster.py --quick         # does it run? One process, and two

Rounds interleave the variants, so that a slow minute hits all alike; ratios are to one process in
the same round. With two cores one process has one thread and two have one each. Rows go to
records/cluster.jsonl. Needs the repository's example data.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import tiny
from kept import Records
from reduced import reduced

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "nl2bash"
RECORDS = Records("cluster")
LOCAL = {
    "1 process": [],
    "2 processes, ddp": ["launch.num_workers=2"],
    "2 processes, fsdp": ["launch.num_workers=2", "strategy=fsdp"],
    "2 processes, ZeRO-1": ["launch.num_workers=2", "strategy=deepspeed_stage_1"],
    "2 processes, ZeRO-2": ["launch.num_workers=2", "strategy=deepspeed_stage_2"],
    "2 processes, ZeRO-3": ["launch.num_workers=2", "strategy=deepspeed_stage_3"],
}
RAY = {
    "1 process, Ray": ["launch=ray"],
    "2 processes, ddp, Ray": ["launch=ray", "launch.num_workers=2"],
}
SKIPPED = 5  # first steps, in which memory is first touched
QUICK = ("1 process", "2 processes, ddp")  # the tests of strategies run the others


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--ray", action="store_true", help="also under Ray")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        return quick()
    if not options.table:
        variants = LOCAL | (RAY if options.ray else {})
        measure(variants, EXAMPLE, rounds=options.rounds, steps=options.steps)
    print(table())


def quick() -> None:
    """One process and two, on tiny data."""
    if tiny.missing("psutil"):
        return
    with tiny.place(RECORDS) as here:
        words = [f"model.name={here.model}", "trainer.batch_size=8", "trainer.max_epochs=9"]
        variants = {name: [*LOCAL[name], *words] for name in QUICK}
        measure(variants, here.collection(), rounds=1, steps=SKIPPED + 3)
        print(table())


def measure(variants: dict[str, list[str]], example: Path, *, rounds: int, steps: int) -> None:
    """All variants in turn, `rounds` times."""
    for number in range(rounds):
        for name, words in variants.items():
            row = {"round": f"{os.getpid()}.{number}", "variant": name}
            row |= measured(example, words, steps)
            print(json.dumps(row), file=sys.stderr)
            RECORDS.keep(row)


def measured(example: Path, words: list[str], steps: int) -> dict[str, Any]:
    """One run of a part of the data: seconds a step and of each phase, and its memory."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        data = reduced(example, Path(scratch) / "nl2bash", train=1000, test=200)
        command = [
            sys.executable,
            "-m",
            "whet_launch",
            "fit",
            f"data={data}",
            "select=last",
            *words,
        ]
        command += [f"trainer.max_steps={steps}", "trainer.log_every_n_steps=1", f"output={folder}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        peaks: dict[str, float] = {}
        threading.Thread(target=watch, args=(process.pid, peaks), daemon=True).start()
        said = process.communicate()[1]
        if process.returncode:
            raise SystemExit(said)
        gaps = [after - before for before, after in pairwise(step_times(folder))][SKIPPED:]
        seconds = json.loads((folder / "environment.json").read_text())["seconds"]
        return {
            "step_s": statistics.median(gaps),
            "processes_mib": sorted(round(peak) for peak in peaks.values())[-4:],
            "seconds": seconds,
        }


def step_times(folder: Path) -> list[float]:
    """The wall-clock time of each step, from TensorBoard's log."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tb"), size_guidance={"scalars": 0})
    events.Reload()
    return [event.wall_time for event in events.Scalars("loss")]


def watch(pid: int, peaks: dict[str, float]) -> None:
    """Note the peak memory, MiB, of the processes below one, as long as it lives."""
    import psutil

    while True:
        try:
            below = psutil.Process(pid)
            for process in [below, *below.children(recursive=True)]:
                status = Path(f"/proc/{process.pid}/status").read_text()
                peaks[str(process.pid)] = int(status.split("VmHWM:")[1].split()[0]) / 1024
        except (psutil.NoSuchProcess, OSError, IndexError):
            if not psutil.pid_exists(pid):
                return
        time.sleep(0.5)


def table() -> str:
    """Medians over rounds; speed against one process of the same round."""
    rows = RECORDS.rows()
    alone = {row["round"]: row["step_s"] for row in rows if row["variant"] == "1 process"}
    phases = ("judge the base model", "mine", "train", "judge the tuned model")
    lines = [
        f"| | step, s | speed | memory of a process, MiB | {' | '.join(phases)} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in LOCAL | RAY:
        some = [row for row in rows if row["variant"] == variant]
        if not some:
            continue
        speed = statistics.median(alone[row["round"]] / row["step_s"] for row in some)
        step = statistics.median(row["step_s"] for row in some)
        memory = statistics.median(row["processes_mib"][-1] for row in some)
        spent = [
            f"{statistics.median(row['seconds'].get(phase, 0) for row in some):.1f}"
            for phase in phases
        ]
        lines.append(
            f"| {variant} | {step:.3f} | {speed:.2f} | {memory:.0f} | {' | '.join(spent)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
