"""Our own tiles on a CPU: float32 by BLAS everywhere, int8 where the CPU has the instructions."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from whet.mining.search.backend import FEW_PRODUCTS, Answer, Backend, Rescanned, Task, progress
from whet.version import install_line
from whet_kernels.topk.search import mine_topk

FEW_ROWS = 8192  # a smaller corpus is searched before int8 pays for its preparation
WORTH_INT8 = 1.5  # times the float32 rate


def _run(task: Task, k: int, backend: Literal["cpu", "int8"]) -> Answer:
    query_QD, corpus_ND, hint_QC = task.query_QD, task.corpus_ND, task.hint_QC
    again = Rescanned()
    with progress(task, len(corpus_ND), "documents") as seen:
        top = mine_topk(
            query_QD,
            corpus_ND,
            k,
            task.window,
            backend=backend,
            hint_QC=hint_QC,
            seen=seen,
            rescanned=again.add,
        )
    return Answer(top, note=again.note(len(query_QD)))


def _suits_int8(task: Task, k: int) -> tuple[bool, str]:
    from whet_kernels.topk.cpu.int8 import int8_gain

    if find_spec("numba") is None:
        return False, "numba is not installed"
    if task.has_floor:
        return False, "min_score needs every score"
    rows = len(task.corpus_ND)
    if rows < FEW_ROWS or rows * task.query_QD.size < FEW_PRODUCTS:
        return False, f"{len(task.query_QD):,} queries times {rows:,} documents are few"
    gain = int8_gain()
    if gain < WORTH_INT8:
        return False, f"int8 products run at {gain:.1f} times the float32 rate here"
    return True, f"int8 products run at {gain:.1f} times the float32 rate here; exact all the same"


blas = Backend(
    "blas",
    missing=lambda: "",
    suits=lambda task, k: (True, "needs nothing but torch, and counts every score"),
    run=lambda task, k: _run(task, k, "cpu"),
)
int8 = Backend(
    "int8",
    missing=lambda: "" if find_spec("numba") else f"numba ({install_line('faiss')})",
    suits=_suits_int8,
    run=lambda task, k: _run(task, k, "int8"),
)
