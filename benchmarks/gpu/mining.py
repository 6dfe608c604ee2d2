"""The search on a GPU: a made-up problem, and where the time of one goes.

Shape suffixes: Q queries, N corpus rows, D dimensions.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import timing
import torch
from stages import Here

GEARS = ("fp16", "bf16", "int8")
WINDOWS = ((True, False), (False, False), (True, True))  # a ceiling, a floor


class Shape(NamedTuple):
    """Sizes of a search."""

    queries: int
    rows: int
    dimension: int
    k: int

    def __str__(self) -> str:
        return f"{self.queries:,} x {self.rows:,} x {self.dimension}, k={self.k}"


class Problem(NamedTuple):
    """Unit vectors of float32 in host memory, and a window."""

    query_QD: np.ndarray
    corpus_ND: np.ndarray
    k: int
    window: Any


def problem(shape: Shape, *, ceiling: bool, floor: bool) -> Problem:
    """Random vectors; the ceiling is passed by some rows, the floor is missed by many, and a row of
    each query is excluded.
    """
    from whet_kernels.topk.window import Exclude, window_of

    queries, rows, dimension, k = shape
    noise = np.random.default_rng(queries + rows + dimension)
    query_QD, corpus_ND = (
        noise.standard_normal((count, dimension)).astype(np.float32) for count in (queries, rows)
    )
    for part in (query_QD, corpus_ND):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    spread = 1 / dimension**0.5  # standard deviation of a score
    window = window_of(
        queries,
        rows,
        ceiling_Q=np.full(queries, 2 * spread, np.float32) if ceiling else None,
        floor_Q=np.full(queries, -0.5 * spread, np.float32) if floor else None,
        exclude=Exclude(np.arange(queries + 1), noise.integers(0, rows, queries)),
    )
    return Problem(query_QD, corpus_ND, k, window)


def found_on_gpu(given: Problem, gear: Any, *, streamed: bool = False) -> Any:
    """The answer of the search on a GPU, the corpus there or streamed from host memory."""
    from whet_kernels.topk.gpu.search import mine_topk_gpu

    corpus = given.corpus_ND if streamed else torch.from_numpy(given.corpus_ND).cuda()
    return mine_topk_gpu(given.query_QD, corpus, given.k, given.window, first_pass=gear)


def large(here: Here, dimension: int) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Vectors in fp16 on the device, as mining meets them: a ceiling, and the positive excluded."""
    from whet_kernels.topk.window import Exclude, window_of

    queries, rows = (64, 700) if here.rehearsed else (16_384, 1_000_000)
    query_QD, corpus_ND = (
        torch.nn.functional.normalize(torch.randn(count, dimension, device="cuda"), dim=1).half()
        for count in (queries, rows)
    )
    window = window_of(
        queries,
        rows,
        ceiling_Q=np.full(queries, 4 / dimension**0.5, np.float32),
        exclude=Exclude(np.arange(queries + 1), np.arange(queries) % rows),
    )
    return query_QD, corpus_ND, window


def inside(here: Here) -> None:
    """One search: its rate, with the slabs that are taken and with larger ones, how busy the device
    is, and a profile by kernel.
    """
    from whet_kernels.topk.gpu.one_pass import GpuTiling
    from whet_kernels.topk.gpu.search import mine_topk_gpu

    for dimension in (64,) if here.rehearsed else (768, 384):
        query_QD, corpus_ND, window = large(here, dimension)
        k = 8 if here.rehearsed else 64
        flops = 2 * len(query_QD) * len(corpus_ND) * dimension

        def search(tiling: Any = None) -> Any:
            return mine_topk_gpu(query_QD, corpus_ND, k, window, tiling=tiling)  # noqa: B023

        seconds = timing.on_device(search, here, times=3)
        here.figure(f"D={dimension}, s", seconds)
        here.figure(f"D={dimension}, TFLOP/s", flops / seconds / 1e12)
        taken = GpuTiling.of(k, corpus_ND, streamed=False)
        here.figure(f"D={dimension}, rows of a slab", taken.rows)
        for rows in (1024,) if here.rehearsed else (16_384, 65_536, 131_072):
            cut = GpuTiling(taken.queries, rows, taken.hits, taken.kept, taken.sample)
            again = timing.on_device(partial(search, cut), here, times=3)
            here.figure(f"D={dimension}, s with slabs of {rows:,}", again)
        _profile(here, search, dimension)


def _profile(here: Here, search: timing.Run, dimension: int) -> None:
    """Device time by kernel, into a file; the share of the wall in which the device is busy."""
    from torch.profiler import ProfilerActivity, profile

    if here.rehearsed:
        here.note("no profile of a pretended device")
        return
    seconds = timing.by_clock(search, here, times=1)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        search()
        torch.cuda.synchronize()
    events = seen.key_averages()
    table = events.table(sort_by="self_device_time_total", row_limit=30)
    (here.out / f"mining_profile_{dimension}.txt").write_text(table)
    busy = sum(event.self_device_time_total for event in events) / 1e6
    launches = sum(event.count for event in events if "LaunchKernel" in event.key)
    here.figure(f"D={dimension}, device busy", busy / seconds)
    here.figure(f"D={dimension}, launches", launches)
