"""Does mining beside the training pay? No refresh, stop-the-world and continuous, at equal time.

    python benchmarks/continuous.py                     # two collections, three seeds: an hour
    python benchmarks/continuous.py --only nl2bash --seeds 1 --budget 40
    python benchmarks/continuous.py --table             # the table alone
    python benchmarks/continuous.py --quick             # does it run? Needs two cores

The trainer has one core and the miner another, so both have "a device" of their own; stop-the-world
mines on the trainer's. Every run trains for the same wall-clock time, refreshes included: how many
steps that is comes from a calibration in the same call. Rows go to records/continuous.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import tiny
from kept import Records
from reduced import reduced

RECORDS = Records("continuous")
COLLECTIONS = ("nl2bash", "tldr-cmd")
TRAIN, TEST = 1500, 300  # queries; the corpus is what these are judged with
REFRESHES = 3  # of stop-the-world, evenly over the run
BATCH = 32
Variants = dict[str, dict[str, Any]]  # name: steps, and refresh where there is one


def main() -> None:
    """Calibrate, run what was asked for, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/continuous"))
    parser.add_argument("--only", nargs="+", choices=COLLECTIONS, default=list(COLLECTIONS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training a run")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--length", type=int, default=64, help="tokens a text is cut to")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        pinned_fit(json.loads(options.one))
        return
    if options.quick:
        return quick(options)
    for name in [] if options.table else options.only:
        data = reduced(options.data / name, options.work / name, train=TRAIN, test=TEST)
        compare(data, calibrated(data, options), options)
    print(table())


def quick(options: argparse.Namespace) -> None:
    """Without refresh and with the continuous one, a few steps each, uncalibrated."""
    if len(os.sched_getaffinity(0)) < 2:
        return tiny.left_out("everything", "the trainer and the miner need a core each")
    with tiny.place(RECORDS) as here:
        options.model, options.length = here.model, 32
        options.work, options.seeds = here.folder, 1
        data = here.collection(COLLECTIONS[0])
        beside = {"steps": 4, "refresh": "continuous"}
        compare(data, {"none": {"steps": 4}, "continuous": beside}, options)
        print(table())


def calibrated(data: Path, options: argparse.Namespace) -> Variants:
    """As many steps for each as take the same time here."""
    short = fit(data, options, "calibration", 24, seed=99)
    step_s = short["step_s"]
    again = fit(data, options, "calibration", 24, seed=99, refresh=12)
    refresh_s = again["train_s"] - short["train_s"]
    whole = int(options.budget / step_s)
    left = max(8, int((options.budget - REFRESHES * refresh_s) / step_s))
    print(f"{data.name}: {step_s:.3f} s a step, {refresh_s:.1f} s a refresh", file=sys.stderr)
    return {
        "none": {"steps": whole},
        "stop the world": {"steps": left, "refresh": max(1, left // (REFRESHES + 1))},
        "continuous": {"steps": whole, "refresh": "continuous"},
    }


def compare(data: Path, variants: Variants, options: argparse.Namespace) -> None:
    """All variants of one collection, seed by seed, so that a slow minute hits all alike."""
    for seed in range(options.seeds):
        for variant, asked in variants.items():
            found = fit(data, options, variant, seed=seed, **asked)
            row = {"data": data.name, "variant": variant, "seed": seed}
            RECORDS.keep(row | {"budget_s": options.budget} | found)


def fit(
    data: Path,
    options: argparse.Namespace,
    name: str,
    steps: int,
    *,
    seed: int,
    refresh: int | str = 0,
) -> dict[str, Any]:
    """One run in a process of its own; what it took and what it reached."""
    folder = options.work / f"{data.name}_{name.replace(' ', '_')}_{seed}_{time.time_ns()}"
    asked = {
        "select": {"policy": "last"},
        "data": str(data),
        "output": str(folder),
        "seed": seed,
        "trainer": {
            "max_steps": steps,
            "max_epochs": 1000,
            "batch_size": BATCH,
            "log_every_n_steps": 1,
        },
        "refresh": {"policy": refresh}
        if isinstance(refresh, str)
        else {"policy": "steps" if refresh else "off", "every_n_steps": refresh or 1},
        "model": {"name": options.model, "max_length": options.length},
    }
    command = [sys.executable, __file__, "--one", json.dumps(asked)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{name} on {data} failed:\n{done.stderr[-3000:]}")
    times = step_times(folder)
    gaps = [later - before for before, later in pairwise(times)]
    log = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    ages = [row["refresh_age_steps"] for row in log if "refresh_age_steps" in row]
    return {
        "steps": steps,
        "step_s": statistics.median(gaps),
        "train_s": times[-1] - times[0],
        "steps_per_s": len(gaps) / (times[-1] - times[0]),
        "refreshes": len(ages),
        "age_steps": statistics.median(ages) if ages else None,
        "overlap": [round(row["refresh_overlap"], 3) for row in log if "refresh_overlap" in row],
        "nDCG@10": json.loads((folder / "metrics.json").read_text())["tuned"]["nDCG@10"],
    }


def step_times(folder: Path) -> list[float]:
    """The wall-clock time of each step, from TensorBoard's log."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tb"), size_guidance={"scalars": 0})
    events.Reload()
    return [event.wall_time for event in events.Scalars("loss")]


def pinned_fit(asked: dict[str, Any]) -> None:
    """Train on the first core; whatever child process mines gets the second."""
    import whet

    first, second = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, {first})
    threading.Thread(target=pin_children, args=(second,), daemon=True).start()
    whet.fit(asked.pop("data"), **asked)


def pin_children(core: int) -> None:
    """Move the threads of every child process to a core, as they appear."""
    me = Path(f"/proc/{os.getpid()}/task")
    while True:
        for listed in me.glob("*/children"):
            for child in listed.read_text().split():
                for thread in Path(f"/proc/{child}/task").glob("*"):
                    if thread.exists():
                        os.sched_setaffinity(int(thread.name), {core})
        time.sleep(0.2)


def table() -> str:
    """Medians over seeds: steps a second against no refresh, and nDCG@10."""
    rows = RECORDS.rows()
    lines = [
        "| collection | refresh | steps/s, of none | steps | refreshes | age, steps "
        "| nDCG@10 by seed | mean |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in COLLECTIONS:
        mine = [row for row in rows if row["data"] == name]
        base = {row["seed"]: row["steps_per_s"] for row in mine if row["variant"] == "none"}
        for variant in ("none", "stop the world", "continuous"):
            some = [row for row in mine if row["variant"] == variant]
            if not some:
                continue
            share = statistics.median(row["steps_per_s"] / base[row["seed"]] for row in some)
            ages = [row["age_steps"] for row in some if row["age_steps"] is not None]
            reached = [row["nDCG@10"] for row in some]
            lines.append(
                f"| {name} | {variant} | {share:.3f} | {some[0]['steps']} "
                f"| {statistics.median(row['refreshes'] for row in some):.0f} "
                f"| {statistics.median(ages) if ages else ''} "
                f"| {' '.join(f'{value:.4f}' for value in reached)} "
                f"| {statistics.mean(reached):.4f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
