"""What does it cost to train so that the same recipe gives the same bits?

    python benchmarks/determinism.py            # five minutes on two idle cores
    python benchmarks/determinism.py --only origin
    python benchmarks/determinism.py --table    # the table alone
    python benchmarks/determinism.py --quick    # does it run?

One training, all of whose steps see the same pairs, with trainer.deterministic on and off in turn
(off on, on off, off on ...): two steps that follow each other are a pair. Ratios are medians over
the pairs, of seconds and of CPU seconds, which other work on the machine disturbs less. And
what it takes to record what made a run. Rows go to records/determinism.jsonl.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from kept import Records
from training import train_alone

from whet.config import FitConfig
from whet.model.encoder import Encoder
from whet.run.determinism import fixed_order
from whet.run.job import Job, open_job
from whet.run.origin import machine_here, record_origin
from whet.training.batches.examples import Examples
from whet.verbs.fit import begin

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "nl2bash"
RECORDS = Records("determinism")
WARM = 2  # steps before the first that counts


def main() -> None:
    """Measure, keep the row, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=str(EXAMPLE))
    parser.add_argument("--pairs", type=int, default=16, help="pairs of steps, off and on")
    parser.add_argument("--model", default="minilm")
    parser.add_argument(
        "--batch", type=int, default=96, help="so many that torch may add rows up on threads"
    )
    parser.add_argument("--only", choices=("steps", "origin"))
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.model = str(here.collection()), here.model
            options.pairs, options.batch = 2, 8
            measure(options)
            print(table())
        return
    if not options.table:
        measure(options)
    print(table())


def measure(options: argparse.Namespace) -> None:
    """What is asked for, or both."""
    for what in [options.only] if options.only else ["steps", "origin"]:
        with tempfile.TemporaryDirectory() as folder:
            job = prepared(options, Path(folder))
            found = step_costs(job, options.pairs) if what == "steps" else origin_cost(job)
        RECORDS.keep({"what": what, "data": job.data.name, **found, **machine()})


def prepared(options: argparse.Namespace, folder: Path) -> Job:
    """A job on the data that trains for so many pairs of steps."""
    config = FitConfig(output=str(folder / "run"))
    config.select.policy = "last"
    config.data.path, config.model.name = options.data, options.model
    config.trainer.max_steps = config.trainer.max_epochs = WARM + 2 * options.pairs
    config.trainer.batch_size = options.batch
    config.trainer.accelerator, config.mining.num_negatives = "cpu", 0
    return open_job(config, begin(config))


def origin_cost(job: Job) -> dict[str, float]:
    """What `record_origin` takes, the second time: files are in memory, as in a fit."""
    for _ in range(2):
        start, cpu = time.perf_counter(), time.process_time()
        record_origin(job.folder, job.config, job.data, "none")
        spent = time.perf_counter() - start, time.process_time() - cpu
    return {"origin_s": round(spent[0], 3), "origin_cpu_s": round(spent[1], 3)}


def step_costs(job: Job, pairs: int) -> dict[str, Any]:
    """Medians of steps off and on, and of the ratios of pairs with their quartiles."""
    steps = timed_steps(job)
    wall, spent = ([step[i] for step in steps] for i in (0, 1))
    ways = [on for pair in range(pairs) for on in order_of(pair)]
    row: dict[str, Any] = {"batch": job.config.trainer.batch_size, "pairs": pairs}
    for name, values in (("step_s", wall), ("step_cpu_s", spent)):
        off, on = ([v for v, way in zip(values, ways, strict=True) if way is w] for w in (0, 1))
        ratios = [b / a for a, b in zip(off, on, strict=True)]
        low, high = np.quantile(ratios, [0.25, 0.75])
        row[name] = [round(statistics.median(one), 3) for one in (off, on)]
        row[f"{name}_ratio"] = [round(float(r), 4) for r in (statistics.median(ratios), low, high)]
    return row


def machine() -> dict[str, Any]:
    """Where and when."""
    return {
        "cpu": machine_here()["cpu"],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def order_of(pair: int) -> tuple[int, int]:
    """Off and then on (0, 1) in even pairs, the reverse in odd ones."""
    return (1, 0) if pair % 2 else (0, 1)


def timed_steps(job: Job) -> list[tuple[float, float]]:
    """Seconds and CPU seconds of each step that counts."""
    encoder = Encoder.load(job.config.model)
    batch = job.config.trainer.batch_size
    examples = Examples(
        job.train.only(np.arange(len(job.train)) < batch),
        job.positives,
        queries=job.data.queries,
        corpus=job.data.corpus,
    )
    assert len(examples) == batch
    done: list[tuple[float, float]] = []
    stack, mark = ExitStack(), time.process_time()

    def step_done(seconds: float) -> None:
        nonlocal mark
        done.append((seconds, time.process_time() - mark))
        stack.close()
        pair, which = divmod(max(0, len(done) - WARM), 2)
        job.config.trainer.deterministic = bool(order_of(pair)[which])
        stack.enter_context(fixed_order(job.config))
        mark = time.process_time()

    train_alone(encoder, examples, job.config, job.folder, step_done=step_done)
    stack.close()
    return done[WARM:]


def table() -> str:
    """Every row kept, as markdown."""
    kept = RECORDS.rows()
    lines = ["| data | pairs a step | s a step, off | on | ratio | CPU s, off | on | ratio |"]
    lines.append("|---" * 8 + "|")
    for row in (row for row in kept if row["what"] == "steps"):
        cells = [row["data"], row["batch"]]
        for name in ("step_s", "step_cpu_s"):
            middle, low, high = row[f"{name}_ratio"]
            cells += [*row[name], f"{middle:.3f} ({low:.3f} to {high:.3f})"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    for row in (row for row in kept if row["what"] == "origin"):
        took = f"{row['origin_s']} s, {row['origin_cpu_s']} CPU s"
        lines.append(f"\nRecording what made a run of {row['data']}: {took}.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
