"""How a search on a GPU is measured: by CUDA events around a whole call, beside cuBLAS's bf16
product.

Needs torch, numpy and triton.

Shape suffixes: Q queries, N corpus rows, D dimensions, k results a query.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from cases import BLOCK_QUERIES, Answer, Problem, check, exact_answer, problem
from gpu_rivals import Method
from measure import (
    Results,
    Row,
    Run,
    Sample,
    Samples,
    Took,
    in_rounds,
    say,
    say_once,
)

if TYPE_CHECKING:
    from whet_kernels.topk.gpu.search import Gear

FLOOR_TILE = (4096, 131_072)
LONGEST = 30.0  # seconds of rounds a case: slow methods get fewer rounds
CHECKED = BLOCK_QUERIES  # queries, evenly spread, whose answer is checked
WHET, WIDE, INT8 = "whet", "whet, float32 vectors", "whet int8"
PASSES: dict[str, Gear] = {WHET: "auto", "whet bf16": "bf16", INT8: "int8"}


class Bench(NamedTuple):
    """Rounds, whether shapes are tiny, where rows go, and when to start nothing more."""

    rounds: int
    quick: bool
    results: Results
    deadline: float

    def size(self, large: int) -> int:
        """A shape's size, a 64th of it in a quick run."""
        return max(512, large // 64) if self.quick else large

    def late(self, what: str) -> bool:
        """Whether the time is spent; says what is left out."""
        if time.monotonic() < self.deadline:
            return False
        say(f"out of time: {what} is left out")
        return True


class Case(NamedTuple):
    """A problem on the device, and the exact answer of some of its queries."""

    given: Problem
    kind: str
    k: int
    filters: bool
    sample: torch.Tensor
    answer: Answer

    @classmethod
    def of(cls, given: Problem, kind: str, k: int, filters: bool = True) -> Case:
        """The case with its answer."""
        queries = len(given.query_QD)
        sample = torch.linspace(0, queries - 1, min(CHECKED, queries)).long().unique()
        return cls(given, kind, k, filters, sample, exact_answer(given.take(sample), k, filters))

    def row(self, group: str, what: str) -> Row:
        """An empty row of this case."""
        (queries, dimension), rows = self.given.query_QD.shape, len(self.given.corpus_ND)
        switch = "on" if self.filters else "off"
        return Row("gpu", group, what, self.kind, queries, rows, dimension, self.k, switch)

    def checked(self, row: Row, found: Any, queries: int) -> Row:
        """The row with its exactness, from the sampled queries among the first `queries`."""
        rows_Qk = found.cpu().numpy() if isinstance(found, torch.Tensor) else found
        inside = self.sample < queries
        part = self.given.take(self.sample[inside])
        answer = Answer(*(side[inside.numpy()] for side in self.answer))
        verdict = check(part, answer, rows_Qk[self.sample[inside].numpy()])
        row.exact, row.wrong = verdict.words, verdict.wrong
        full = int(((rows_Qk >= 0).sum(1) == self.k).sum())
        row.full, row.full_share = f"{full}/{len(rows_Qk)}", full / len(rows_Qk)
        return row


def made(kind: str, queries: int, rows: int, dimension: int) -> Problem:
    """A bf16 problem on the device."""
    torch.cuda.empty_cache()
    torch.set_float32_matmul_precision("highest")
    return problem(kind, queries, rows, dimension, device="cuda", bf16=True)


def clock(run: Run) -> Took:
    """Time a call by CUDA events."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    cpu = time.process_time()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return Took(start.elapsed_time(end) / 1e3, time.process_time() - cpu)


def floor_of(given: Problem) -> tuple[Run, float]:
    """bf16 products in whole tiles of 4096 x 131072, thrown away, and the share left out."""
    query_QD, corpus_ND = given.query_QD, given.corpus_ND
    high, wide = min(FLOOR_TILE[0], len(query_QD)), min(FLOOR_TILE[1], len(corpus_ND))
    queries, rows = len(query_QD) // high * high, len(corpus_ND) // wide * wide
    out = torch.empty(high, wide, dtype=query_QD.dtype, device=query_QD.device)

    def run() -> None:
        for q in range(0, queries, high):
            for n in range(0, rows, wide):
                torch.mm(query_QD[q : q + high], corpus_ND[n : n + wide].T, out=out)

    return run, len(query_QD) * len(corpus_ND) / (queries * rows)


def window_of_case(given: Problem, k: int, filters: bool) -> Any:
    """Ceiling and exclusion of the positive as whet's kernels take them."""
    from whet_kernels.topk.window import Exclude, window_of

    options: dict[str, Any] = {"ceiling_Q": None, "floor_Q": None, "exclude": None}
    if filters:
        options["ceiling_Q"] = given.ceiling_Q.cpu().numpy()
        queries = len(given.query_QD)
        options["exclude"] = Exclude(np.arange(queries + 1), given.positive_Q.cpu().numpy())
    return window_of(len(given.query_QD), len(given.corpus_ND), **options)


def whet_method(given: Problem, k: int, filters: bool, first_pass: Gear = "auto") -> Method | None:
    """Whet's kernel, or None and a word where this version has none."""
    try:
        from whet_kernels.topk.gpu.search import mine_topk_gpu
    except ImportError as error:
        say_once(f"whet's rows are left out: {error}")
        return None
    window = window_of_case(given, k, filters)

    def run() -> np.ndarray:
        query_QD, corpus_ND = given.query_QD, given.corpus_ND
        return mine_topk_gpu(query_QD, corpus_ND, k, window, first_pass=first_pass).rows_Qk

    return Method(run, len(given.query_QD))


def whet_methods(given: Problem, k: int, filters: bool) -> dict[str, Method]:
    """Each kind of first pass."""
    found = {name: whet_method(given, k, filters, kind) for name, kind in PASSES.items()}
    return {name: method for name, method in found.items() if method is not None}


def peak_mib(run: Run) -> tuple[Any, float]:
    """What a call gives, and its most memory beyond what was there before and what it gives.

    Torch counts its own; what others took (faiss) shows in the device's free memory.
    """
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    free = torch.cuda.mem_get_info()[0]
    found = run()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - allocated
    others = free - torch.cuda.mem_get_info()[0] - (torch.cuda.memory_reserved() - reserved)
    given = found.nbytes if isinstance(found, torch.Tensor) else 0
    return found, max(0.0, (peak + max(0, others) - given) / 2**20)


def measured(
    bench: Bench, case: Case, group: str, methods: dict[str, Method]
) -> dict[str, tuple[Row, Samples]]:
    """A checked row with times and memory for every method that runs, and the floor's row."""
    floor, scale = floor_of(case.given)
    floor()
    rows = {name: first_row(case, group, name, method) for name, method in methods.items()}
    working = {name: methods[name] for name, row in rows.items() if row is not None}
    if not working:
        return {}
    runs = {name: method.run for name, method in working.items()}
    once = sum(clock(run).wall for run in runs.values())
    rounds = max(1, min(bench.rounds, int(LONGEST / max(once, 1e-3))))
    taken = in_rounds(runs, floor, rounds, timer=clock, scale=scale)
    found = {}
    for name, method in working.items():
        samples = [
            one._replace(took=Took(*(method.scale * part for part in one.took)))
            for one in taken[name]
        ]
        row = rows[name]
        assert row is not None
        found[name] = (row.timed(samples), samples)
    _add_floor(bench, case, group, next(iter(found.values()))[1])
    return found


def first_row(case: Case, group: str, name: str, method: Method) -> Row | None:
    """Warm up, check, and measure memory; None, and a word why, for a method that fails."""
    try:
        method.run()
        found, extra = peak_mib(method.run)
    except Exception as error:  # no memory, or a tile of Triton's that does not fit
        torch.cuda.empty_cache()
        say(f"{name} is left out: {str(error).splitlines()[0] if str(error) else error!r}")
        return None
    row = case.checked(case.row(group, name), found, method.queries)
    if method.memory:
        row.extra_mib = extra
    return row


def _add_floor(bench: Bench, case: Case, group: str, samples: Samples) -> None:
    row = case.row(group, "floor: cuBLAS bf16 alone")
    row.filters, row.exact = "", "no answer"
    bench.results.add(row.timed([Sample(one.floor, one.floor) for one in samples]))
