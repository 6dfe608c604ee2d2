"""What is asked of the search on a GPU: which rivals, shapes and goals.

faiss for GPUs and sentence-transformers are measured where they are installed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from cases import Problem, with_ceiling
from gpu_bench import (
    INT8,
    WHET,
    WIDE,
    Bench,
    Case,
    clock,
    first_row,
    floor_of,
    made,
    measured,
    whet_method,
    whet_methods,
)
from gpu_rivals import Method, faiss_methods, torch_methods
from measure import Goal, Row, Samples, faster_by, in_rounds, ratio, say, time_at_most

FAISS16 = "faiss bf16 then filter"
SHARES = {384: (0.60, 0.75), 768: (0.75, 0.85), 1024: (0.75, 0.85)}  # of the floor's rate
OVER_FAISS = {384: (1.8, 2.3), 768: (1.3, 1.6), 1024: (1.15, 1.3)}
SMALL = Goal(("extra_mib",), 256.0, label="MiB")
AGAINST = {  # name of the rival: whet's row that is set against it, and the goal
    "faiss fp32 then filter": (WIDE, faster_by(8, 12)),
    "faiss GpuIndexFlatIP useFloat16=True then filter": (WIDE, faster_by(8, 12)),
    "faiss GpuIndexFlatIP useFloat16=False then filter": (WIDE, faster_by(8, 12)),
    "torch bf16 mm + topk + mask": (WHET, faster_by(3, 5)),
    "torch fp32 mm + topk + mask": (WIDE, None),
    "NeMo style: fp32, 128 queries at a time": (WIDE, faster_by(30, 100)),
}


def floor_goal(dimension: int) -> tuple[Goal, ...]:
    """Time over the floor's that is the share of its rate asked for."""
    if dimension not in SHARES:
        return ()
    least, best = (round(1 / share, 3) for share in SHARES[dimension])
    return (Goal(("x_floor",), least, best, label="floor"),)


def compare(bench: Bench) -> None:
    """Every rival at three widths."""
    for kind, dimension in (("random", 768), ("random", 384), ("random", 1024), ("clustered", 768)):
        if bench.late(f"compare, {kind}, D={dimension}"):
            return
        given = made(kind, bench.size(16_384), bench.size(1_000_000), dimension)
        case = Case.of(given, kind, 64)
        wide = given._replace(query_QD=given.query_QD.float(), corpus_ND=given.corpus_ND.float())
        methods = whet_methods(given, 64, True)
        float32 = whet_method(wide, 64, True) if methods else None
        methods |= {WIDE: float32} if float32 else {}
        methods |= faiss_methods(given, 64, True) | torch_methods(given, 64, True)
        found = measured(bench, case, "search", methods)
        _compared(bench, found, dimension)
        _tensor_cores(found)


def _compared(bench: Bench, found: dict[str, tuple[Row, Samples]], dimension: int) -> None:
    """Each row once; whet's again for every rival there is a goal against."""
    for name, (row, samples) in found.items():
        if FAISS16 in found and name != FAISS16:
            row.compared(FAISS16, "speed", ratio(found[FAISS16][1], samples))
        bench.results.add(row.judged(*_goals(name, dimension, FAISS16 in found)))
    for rival, (name, goal) in AGAINST.items():
        if rival in found and name in found:
            row, samples = found[name]
            row.compared(rival, "speed", ratio(found[rival][1], samples))
            bench.results.add(row.judged(*([goal] if goal else [])))


def _goals(name: str, dimension: int, against_faiss: bool) -> list[Goal]:
    if name == INT8:
        both = dimension == 768 and against_faiss
        return [SMALL, *([faster_by(2, 3)] if both else [])]
    if name != WHET:
        return []
    faiss = [faster_by(*OVER_FAISS[dimension])] if against_faiss else []
    return [*floor_goal(dimension), *faiss, SMALL]


def _tensor_cores(found: dict[str, tuple[Row, Samples]]) -> None:
    """Does FAISS multiply fp16 on the tensor cores? Its fp16 and bf16 rows tell."""
    half, brain = "faiss fp16 then filter", FAISS16
    if half not in found or brain not in found:
        say("whether faiss multiplies fp16 on the tensor cores stays open: its rows are missing")
        return
    times = ratio(found[half][1], found[brain][1]).wall
    verdict = "does not use" if times > 1.5 else "uses"
    say(f"faiss fp16 takes {times:.2f} times as long as bf16: it {verdict} the tensor cores")


def k_rows(bench: Bench) -> None:
    """256 results against 16, D=768."""
    given = made("clustered", bench.size(16_384), bench.size(1_000_000), 768)
    cases = {f"k={k}": Case.of(given, "clustered", k) for k in (16, 64, 256)}
    _beside(bench, "k", cases, "k=16", {"k=256": time_at_most(1.15)})


def filter_rows(bench: Bench) -> None:
    """The window and the exclusions against a plain search, D=768."""
    given = made("clustered", bench.size(16_384), bench.size(1_000_000), 768)
    cases = {f"filters {on}": Case.of(given, "clustered", 64, on == "on") for on in ("off", "on")}
    _beside(bench, "filters", cases, "filters off", {"filters on": time_at_most(1.05)})


def _beside(
    bench: Bench, group: str, cases: dict[str, Case], base: str, goals: dict[str, Goal]
) -> None:
    """Whet on several cases of one problem, round by round, set against the first."""
    methods: dict[str, Method] = {}
    for label, case in cases.items():
        method = whet_method(case.given, case.k, case.filters)
        if method is None:
            return
        methods[label] = method
    rows = {label: first_row(case, group, WHET, methods[label]) for label, case in cases.items()}
    runs = {label: methods[label].run for label, row in rows.items() if row is not None}
    floor, scale = floor_of(cases[base].given)
    floor()
    samples = in_rounds(runs, floor, bench.rounds, timer=clock, scale=scale)
    for label in runs:
        row = rows[label]
        assert row is not None
        row.timed(samples[label])
        if label != base and base in samples:
            row.compared(base, "time", ratio(samples[label], samples[base]))
        bench.results.add(row.judged(*([goals[label]] if label in goals and row.against else [])))


def large_rows(bench: Bench) -> None:
    """A hundred thousand queries; then ten million documents."""
    for queries, rows in ((100_000, 1_000_000), (16_384, 10_000_000)):
        if bench.late(f"Q={queries:,} N={rows:,}"):
            return
        given = made("random", bench.size(queries), bench.size(rows), 768)
        methods = whet_methods(given, 64, True)
        faiss = faiss_methods(given, 64, True) if rows < 2_000_000 else {}
        methods |= {name: method for name, method in faiss.items() if name == FAISS16}
        found = measured(bench, Case.of(given, "random", 64), "large", methods)
        for name, (row, samples) in found.items():
            if FAISS16 in found and name != FAISS16:
                row.compared(FAISS16, "speed", ratio(found[FAISS16][1], samples))
            bench.results.add(row.judged(*([*floor_goal(768), SMALL] if name == WHET else [])))


def stream_rows(bench: Bench) -> None:
    """A corpus in pinned host memory, read a slab at a time, against the same on the device."""
    given = made("random", bench.size(16_384), bench.size(2_000_000), 768)
    case = Case.of(given, "random", 64)
    host = given._replace(corpus_ND=given.corpus_ND.cpu().pin_memory())
    here, there = whet_method(given, 64, True), whet_method(host, 64, True)
    if here is None or there is None:
        return
    methods = {"whet, on the device": here, "whet, from pinned memory": there}
    found = measured(bench, case, "streaming", methods)
    base = next(iter(methods))
    for name, (row, samples) in found.items():
        if name != base and base in found:
            row.compared(base, "time", ratio(samples, found[base][1]))
        bench.results.add(row.judged(SMALL))


def end_to_end_rows(bench: Bench) -> None:
    """From vectors to negatives: sentence-transformers, and whet from tensors to arrays."""
    if find_spec("sentence_transformers") is None or find_spec("datasets") is None:
        say("sentence-transformers is not installed: its row is left out")
        return
    from whole import NEGATIVES, THEIRS, Theirs

    given = made("clustered", bench.size(16_384), bench.size(1_000_000), 384)
    wide = given._replace(query_QD=given.query_QD.float(), corpus_ND=given.corpus_ND.float())
    case = Case.of(given, "clustered", NEGATIVES)
    if whet_method(wide, NEGATIVES, True) is None:
        return

    def ours() -> np.ndarray:
        again = with_ceiling(wide.query_QD, wide.corpus_ND, wide.positive_Q)
        method = whet_method(again, NEGATIVES, True)
        assert method is not None
        row_QK: np.ndarray = method.run()
        return row_QK

    theirs = Theirs(Problem(*(part.cpu() for part in wide)), device="cuda")
    queries = len(given.query_QD)
    methods = {
        THEIRS: Method(lambda: theirs.rows(theirs.run()), queries, memory=False),
        WIDE: Method(ours, queries),
    }
    found = measured(bench, case, "end to end", methods)
    for name, (row, samples) in found.items():
        if name == WIDE and THEIRS in found:
            row.compared(THEIRS, "speed", ratio(found[THEIRS][1], samples))
            row.judged(faster_by(30, 100))
        bench.results.add(row)


def _unless_late(name: str, rows: Callable[[Bench], None]) -> Callable[[Bench], None]:
    def run(bench: Bench) -> None:
        if not bench.late(name):
            rows(bench)

    return run


GROUPS: dict[str, Callable[[Bench], None]] = {
    name: _unless_late(name, rows)
    for name, rows in (
        ("compare", compare),
        ("k", k_rows),
        ("filters", filter_rows),
        ("large", large_rows),
        ("streaming", stream_rows),
        ("end-to-end", end_to_end_rows),
    )
}
