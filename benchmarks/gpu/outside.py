"""What is done by another program: the repository's own tests, compute-sanitizer, the mining table.

A rehearsal does what it can of each: other programs know nothing of the pretended device.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import mining
from folders import HERE, ROOT
from mining import Shape
from stages import Here, LeftOut

SANITIZERS = ("/usr/local/cuda/bin/compute-sanitizer", "/opt/cuda/bin/compute-sanitizer")
MINE = HERE.parent / "mine"
NARROW = 32  # dimensions, in a rehearsal
ENDING = 20.0  # seconds that a program is given less than its stage, to be told about


def _run(here: Here, command: list[str], log: str) -> tuple[int, list[str]]:
    """Exit code and the lines it printed, which are in a file, too. TimeoutError where it had to be
    stopped.
    """
    path = here.out / log
    with path.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait(max(5.0, here.seconds - ENDING))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # pytest then tells what it has
            try:
                process.wait(ENDING / 2)
            except subprocess.TimeoutExpired:
                process.kill()
            raise TimeoutError(f"over its {here.seconds:.0f} s: see {log}") from None
    return code, path.read_text(encoding="utf-8", errors="replace").splitlines()


def memory_check(here: Here) -> None:
    """compute-sanitizer over small searches and a loss: accesses out of bounds or misaligned."""
    if here.rehearsed:
        small_calls(Shape(5, 150, 24, 3), 20)
        raise LeftOut("the calls ran; compute-sanitizer needs a real GPU")
    tool = shutil.which("compute-sanitizer") or next(filter(os.path.exists, SANITIZERS), None)
    if tool is None:
        raise LeftOut("needs compute-sanitizer of the CUDA toolkit, not installed here")
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import folders, outside; "
        "outside.small_calls()"
    )
    command = [tool, "--tool", "memcheck", "--error-exitcode", "9", sys.executable, "-c", code]
    exit_code, said = _run(here, command, "memcheck.log")
    summary = [line.strip("= ") for line in said if "ERROR SUMMARY" in line]
    here.figure("summary", summary[-1] if summary else f"none, exit code {exit_code}")
    if exit_code:
        here.wrong("compute-sanitizer found errors or did not end: see memcheck.log")


CHECKED = Shape(70, 1501, 96, 8)


def small_calls(shape: Shape = CHECKED, pairs: int = 150) -> None:
    """What is looked at under compute-sanitizer, which makes it some hundred times slower."""
    import losses
    import torch

    for gear in mining.GEARS:
        given = mining.problem(shape, ceiling=True, floor=True)
        mining.found_on_gpu(given, gear)
    for products in (torch.bfloat16, torch.float32):
        losses.once(losses.vectors(pairs, shape.dimension), products, symmetric=True)
    torch.cuda.synchronize()


def gpu_tests(here: Here) -> None:
    """The tests that only a GPU can run; in a rehearsal they skip themselves."""
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
    ]
    _tests(here, [*files, "-m", "gpu"], "gpu_tests.log")


def kernel_tests(here: Here) -> None:
    """The tests of the kernels, which elsewhere run in Triton's interpreter."""
    some = ["-k", "test_keys_are_ordered_by_score_then_row"] if here.rehearsed else []
    _tests(here, ["tests/kernels", "-m", "not gpu", *some], "kernel_tests.log")


def _tests(here: Here, words: list[str], log: str) -> None:
    here.needs("pytest")
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider"]
    code, said = _run(here, [*command, "-rf", *words], log)
    for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", said[-1] if said else ""):
        here.figure(word, int(count))
    for line in [line for line in said if line.startswith(("FAILED", "ERROR"))][:10]:
        here.wrong(line[:160])
    if code and not any(line.startswith("FAILED") for line in said):
        here.wrong(f"exit code {code}: see {log}")


def mining_table(here: Here) -> None:
    """Whet, FAISS and torch over cuBLAS's product, at three widths."""
    _table(here, ["compare"], "mining.csv")


def mining_table_more(here: Here) -> None:
    """More results per query, filters, many queries and documents, a corpus in host memory."""
    groups = ["streaming"] if here.rehearsed else ["k", "filters", "streaming", "large"]
    _table(here, groups, "mining_more.csv")


def _table(here: Here, groups: list[str], name: str) -> None:
    results = here.out / name
    results.unlink(missing_ok=True)
    if here.rehearsed:
        _rehearsed(groups, results)
        take_table(here, results)
        return
    minutes = (here.seconds - 3 * ENDING) / 60  # a case that has begun is ended
    command = [sys.executable, "benchmarks/mine/run.py", "--only", "gpu"]
    command += ["--results", str(results), "--minutes", f"{minutes:.2f}", "--groups", *groups]
    log = results.with_suffix(".log").name
    try:
        code, said = _run(here, command, log)
    finally:
        take_table(here, results)  # rows are there as soon as they are measured
    for line in said:
        if "left out" in line or "out of time" in line:
            here.note(line[:200])
    if code:  # a group failed; what is wrong stands in the rows
        raise RuntimeError(f"exit code {code}: see {log}")


def _rehearsed(groups: list[str], results: Path) -> None:
    """The first problem of each group in this process, as the device is pretended in no other."""
    sys.path.insert(1, str(MINE))
    try:
        gpu_bench, gpu_rows, measure = map(_module, ("gpu_bench", "gpu_rows", "measure"))

        bench: Any = gpu_bench.Bench

        class Small(bench):  # type: ignore[misc]  # of a module that is found when it runs
            """A few queries and rows; after the first problem there is no time left."""

            def size(self, large: int) -> int:
                return 300 if large > 500_000 else 24

            def late(self, what: str) -> bool:
                return bool(measure.read(self.results.path)) and what[0] != "k"

        gpu_rows.made = lambda kind, queries, rows, _: gpu_bench.made(kind, queries, rows, NARROW)
        for name in groups:
            kept = measure.Results(results.with_suffix(f".{name}.csv"), measure.machine(True))
            gpu_rows.GROUPS[name](Small(1, True, kept, 0.0))
            results.write_text(kept.path.read_text())
    finally:
        sys.path.remove(str(MINE))


def _module(name: str) -> Any:
    return import_module(name)


def take_table(here: Here, results: Path) -> None:
    """Whet's figures of a results file of the mining benchmark; a wrong answer is told."""
    if not results.exists():
        here.wrong("no row was measured")
        return
    with results.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    here.figure("rows", len(rows))
    for row in rows:
        if row["part"] != "gpu" or not row["what"].startswith("whet"):
            continue
        if row["exact"] not in ("yes", "no answer", ""):
            here.wrong(f"{row['what']}, {row['data']}, D={row['D']}: {row['exact']}")
        for name, value in _figures(row).items():
            here.figure(name, value)


def _figures(row: dict[str, str]) -> dict[str, float]:
    """Of a row: the plain names are those that goals.py asks for."""
    usual = row["group"] == "search" and row["what"] == "whet" and row["data"] == "random"
    case = f"{row['group']}, {row['what']}, {row['data']}, Q={row['Q']}, N={row['N']}, k={row['k']}"
    name = f"D={row['D']}" if usual else f"{case}, filters {row['filters']}, D={row['D']}"
    found = {}
    if row["x_floor"]:
        found[f"{name}, share of the roof"] = 1 / float(row["x_floor"])
    if row["extra_mib"]:
        found[f"{name}, MiB beyond inputs"] = float(row["extra_mib"])
    if row["ratio"]:
        rival = "FAISS" if row["against"] == "faiss bf16 then filter" else row["against"]
        found[f"{name}, over {rival}"] = float(row["ratio"])
    return found
