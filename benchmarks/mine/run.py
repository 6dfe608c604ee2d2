"""How fast is mining, as ratios to the matrix product alone and to what people run today?

    python benchmarks/mine/run.py               # the CPU table; with CUDA the GPU table
    python benchmarks/mine/run.py --only cpu    # the CPU table on a machine with a GPU
    python benchmarks/mine/run.py --quick       # tiny shapes, half a minute: does everything run?
    python benchmarks/mine/run.py --table --plot    # from the results so far, nothing measured

Rows are appended to results.csv as they are measured, and plot.svg is drawn from it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait must not burn CPU seconds

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from measure import Results, machine, read, say
from table import plot, table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def main() -> None:
    """Measure what is asked for, print the table and draw the plot."""
    options = parsed()
    if options.quick and options.results is None:
        with tempfile.TemporaryDirectory() as folder:
            options.results = Path(folder) / "results.csv"
            run(options)
        return
    options.results = options.results or HERE / "results.csv"
    run(options)


def run(options: argparse.Namespace) -> None:
    """Do what is asked for."""
    if not (options.table or options.plot):
        find_packages()
        part = options.only or ("gpu" if torch.cuda.is_available() else "cpu")
        if part == "gpu" and not torch.cuda.is_available():
            raise SystemExit("--only gpu needs a CUDA GPU, and torch sees none here.")
        results = Results(options.results, machine(part == "gpu"))
        failed = (measure_gpu if part == "gpu" else measure_cpu)(options, results)
        print(table(read(options.results)))
        draw(options.results)
        if failed:
            raise SystemExit(f"These groups failed, see above: {', '.join(failed)}.")
    if options.table:
        print(table(read(options.results)))
    if options.plot:
        draw(options.results)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("cpu", "gpu"), help="default: gpu where there is CUDA")
    parser.add_argument("--groups", nargs="+", metavar="NAME", help="only these groups of rows")
    parser.add_argument("--quick", action="store_true", help="tiny shapes: a test, no figures")
    parser.add_argument("--rows", type=int, nargs="+", help="CPU: documents; 100000 400000")
    parser.add_argument("--rounds", type=int, help="default: 3 on a CPU, 5 on a GPU")
    parser.add_argument("--minutes", type=float, default=8.0, help="GPU: start nothing after this")
    parser.add_argument(
        "--results", type=Path, help="default: results.csv here; with --quick, nothing is kept"
    )
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--plot", action="store_true", help="only draw the plot")
    return parser.parse_args()


def find_packages() -> None:
    """Measure this repository's packages, also where none or others are installed."""
    folders = [str(ROOT / folder) for folder in ("engine", "kernels")]
    sys.path[:0] = folders
    before = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    os.environ["PYTHONPATH"] = os.pathsep.join(folders + before)


def measure_cpu(options: argparse.Namespace, results: Results) -> list[str]:
    """The CPU rows; returns the groups that failed."""
    import cpu
    import whole

    shapes = cpu.QUICK if options.quick else cpu.SHAPES
    if options.rows:
        shapes = shapes._replace(rows=tuple(options.rows))
    rounds = options.rounds or (1 if options.quick else 3)
    groups: dict[str, Callable[..., None]] = {
        "search": cpu.search_rows,
        "k-and-filters": cpu.k_and_filter_rows,
        "warm": cpu.warm_rows,
        "growth": cpu.growth_rows,
        "end-to-end": whole.end_to_end_rows,
        "memory": whole.memory_rows,
    }
    return each(groups, options, lambda run: run(shapes, rounds, results))


def measure_gpu(options: argparse.Namespace, results: Results) -> list[str]:
    """The GPU rows, until the minutes are spent; returns the groups that failed."""
    import gpu_bench
    import gpu_rows

    began = time.monotonic()
    rounds = options.rounds or (1 if options.quick else 5)
    bench = gpu_bench.Bench(rounds, options.quick, results, began + 60 * options.minutes)
    return each(gpu_rows.GROUPS, options, lambda run: run(bench))


def each(
    groups: dict[str, Callable[..., None]],
    options: argparse.Namespace,
    call: Callable[[Callable[..., None]], None],
) -> list[str]:
    """Run the groups; one that fails is told and the others go on."""
    unknown = set(options.groups or ()) - set(groups)
    if unknown:
        raise SystemExit(f"--groups: no {', '.join(unknown)}. There are {', '.join(groups)}.")
    failed = []
    for name in options.groups or groups:
        began = time.monotonic()
        try:
            call(groups[name])
        except Exception:
            traceback.print_exc()
            failed.append(name)
        say(f"-- {name}: {time.monotonic() - began:.0f} s")
    return failed


def draw(results: Path) -> None:
    """The plot next to the results."""
    path = results.parent / "plot.svg"
    path.write_text(plot(read(results)), encoding="utf-8")
    say(f"wrote {path}")


if __name__ == "__main__":
    main()
