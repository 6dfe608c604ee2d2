"""An inverted file of faiss proposes, its candidates are filtered and scored exactly: for corpora
too large to look at whole. The only backend that can miss; how much is measured on every run.

A query that does not find k survivors looks into four times as many lists, and so on until it has
them or has seen the whole corpus.

Shape suffixes: Q queries, N corpus rows, C candidates per query, k results per query.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from whet.mining.search.backend import Answer, Backend, Task
from whet.mining.search.tiles import blas
from whet.processes.world import world
from whet.version import install_line
from whet_kernels.topk.exact import norms, slices
from whet_kernels.topk.window import TopK, empty_result, finish

FIRST_PROBES = 16  # lists a query looks into at first
WIDER = 4
SPARE = 48  # candidates beyond k and the exclusions
DEEPEST = 2048  # as many as faiss gives on a GPU
MOST_PROBES = 2048  # the same limit for lists
TRAIN_ROWS = 64  # a list, to place its centre
LEAST_ROWS = 39  # a list; faiss warns of fewer
ADD_ROWS = 1 << 18
GPU_ROOM = 512 << 20  # bytes
JUDGED = 200  # queries whose result is compared with the exact one


def _run(task: Task, k: int) -> Answer:
    query_QD = np.ascontiguousarray(task.query_QD, np.float32)
    norms(query_QD, side="query")
    index, most = _index(task.corpus_ND)
    result = empty_result(len(query_QD), k, task.window)
    unseen_Q = len(task.corpus_ND) - result.excluded_Q
    left, probes = np.arange(len(query_QD)), min(FIRST_PROBES, most)
    while len(left):
        index.nprobe = probes
        for span in slices(len(left), 1024):
            _round(replace(task, queries=query_QD), index, left[span], (result, unseen_Q))
        left = left[result.rows_Qk[left, -1] < 0]
        if probes == most:
            break
        probes = min(probes * WIDER, most)
    if len(left):  # deeper than faiss goes
        rest = blas.run(task.take(left), k).top
        for whole, piece in zip(result, rest, strict=True):
            whole[left] = piece
        unseen_Q[left] = 0
    return Answer(result, unseen_Q, _recall(task, k, result.rows_Qk))


def _index(corpus_ND: np.ndarray) -> tuple[Any, int]:
    """Lists of 16-bit vectors around centres of a sample, and how many can be looked into."""
    import faiss

    rows, dimension = corpus_ND.shape
    for span in slices(rows, ADD_ROWS):
        norms(corpus_ND[span], side="corpus", first_row=span.start)
    lists = max(1, min(int(4 * np.sqrt(rows)), rows // LEAST_ROWS))
    index = faiss.index_factory(dimension, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    if getattr(faiss, "get_num_gpus", lambda: 0)():
        index = faiss.index_cpu_to_gpu(_gpu_room(), world().device_index, index)
    some = np.sort(np.random.default_rng(0).permutation(rows)[: TRAIN_ROWS * lists])
    index.train(np.ascontiguousarray(corpus_ND[some], np.float32))
    for span in slices(rows, ADD_ROWS):
        index.add(np.ascontiguousarray(corpus_ND[span], np.float32))
    return index, min(lists, MOST_PROBES)


@functools.cache
def _gpu_room() -> Any:
    """FAISS's room for passing results on a GPU, once per process: by default 1.5 GiB each time."""
    import faiss

    room = faiss.StandardGpuResources()
    room.setTempMemory(GPU_ROOM)
    return room


def _round(task: Task, index: Any, queries: np.ndarray, answer: tuple[TopK, np.ndarray]) -> None:
    """Candidates of some queries, scored and filtered; the results and counts are written."""
    result, unseen_Q = answer
    part = task.take(queries)
    k = result.rows_Qk.shape[1]
    widest = k + SPARE + int(part.window.excluded_Q.max(initial=0))
    depth = min(widest * index.nprobe // FIRST_PROBES + widest, DEEPEST, len(task.corpus_ND))
    _, row_QC = index.search(part.query_QD, depth)
    nothing_Q = np.full(len(queries), -np.inf)
    done = finish(part.query_QD, task.corpus_ND, row_QC, nothing_Q, k=k, window=part.window)
    seen_Q = ((row_QC >= 0) & ~part.window.is_excluded(row_QC)).sum(1)
    result.scores_Qk[queries], result.rows_Qk[queries] = done.scores_Qk, done.rows_Qk
    result.above_Q[queries] = done.above_Q
    result.below_Q[queries] = seen_Q - np.maximum(done.above_Q, done.at_least_Q)
    unseen_Q[queries] = len(task.corpus_ND) - result.excluded_Q[queries] - seen_Q


def _recall(task: Task, k: int, rows_Qk: np.ndarray) -> str:
    """How many of the exact results of some queries were found."""
    some = np.unique(np.linspace(0, len(rows_Qk) - 1, JUDGED).astype(np.int64))
    exact_Qk = blas.run(task.take(some), k).top.rows_Qk
    hits = sum(
        len(np.intersect1d(a[a >= 0], b[b >= 0]))
        for a, b in zip(rows_Qk[some], exact_Qk, strict=True)
    )
    share = hits / max(1, int((exact_Qk >= 0).sum()))
    return f"recall@{k} is {share:.1%} on {len(some):,} queries"


faiss_ivf = Backend(
    "ivf",
    missing=lambda: "" if find_spec("faiss") else f"faiss ({install_line('faiss')})",
    suits=lambda task, k: (False, "it can miss documents"),
    run=_run,
)
