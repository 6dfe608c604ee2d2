"""Searches on a GPU that is not there: which it is asked for, their results, and their waits."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from device_checks import (
    CORPUS,
    EXCLUDED,
    LIMITS,
    QUERIES,
    TIGHT,
    TILING,
    WINDOW,
    check_same,
    check_search,
    check_slabs,
)
from pretend_cuda import Gpu

from whet.mining import search as searches
from whet.mining.search import BACKENDS, choose_search_backend, windowed_search
from whet.mining.search.backend import Task, search_task
from whet_kernels.topk import search as topk
from whet_kernels.topk.gpu.search import mine_topk_gpu
from whet_kernels.topk.reference import mine_topk_reference
from whet_kernels.topk.search import mine_topk

TASK = search_task(QUERIES, CORPUS, **LIMITS, exclude=EXCLUDED)


def task_of(queries: int, rows: int) -> Task:
    """A search of so many queries in so many rows of 64 numbers."""
    corpus_ND = np.broadcast_to(np.float32(0.125), (rows, 64))
    return search_task(np.full((queries, 64), 0.125, np.float32), corpus_ND)


@pytest.mark.parametrize(("queries", "on_gpu"), [(1 << 10, True), ((1 << 10) - 1, False)])
def test_a_small_search_is_not_worth_compiling_for(gpu: Gpu, queries: int, on_gpu: bool) -> None:
    """From 2^36 multiplications on the GPU is taken; below, the report says why not."""
    backend, why = choose_search_backend("auto", task_of(queries, 1 << 20), 10)
    assert (backend.name == "gpu") == on_gpu
    assert on_gpu or "not gpu: " in why


# What lies on the device is searched by test_slabs.py, too.
@pytest.mark.parametrize("streamed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_search_gives_the_oracles_result(gpu: Gpu, streamed: bool) -> None:
    assert check_search(streamed=streamed) == 0


def test_queries_that_no_pass_settles_are_scanned(gpu: Gpu) -> None:
    assert check_search(tiling=TIGHT) == len(QUERIES)


@pytest.mark.parametrize("fits", [True, False])
def test_a_corpus_too_large_for_the_gpu_is_streamed(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    monkeypatch.setattr(topk, "SHARE", float(fits))
    found = windowed_search(TASK, 1, "gpu")  # one result: a sample gives the first bound
    check_same(found.top, 1)
    assert ("streamed" in found.why) != fits


def test_auto_goes_where_the_corpus_lies(gpu: Gpu) -> None:
    check_same(mine_topk(QUERIES, CORPUS, 5, WINDOW), 5)
    assert not gpu.launches("")
    check_same(mine_topk(QUERIES, torch.from_numpy(CORPUS).cuda(), 5, WINDOW), 5)
    assert gpu.launches("")


@pytest.mark.slow
def test_a_tensor_of_the_host_is_streamed_as_an_array_is(gpu: Gpu) -> None:
    queries = torch.from_numpy(QUERIES)
    found = mine_topk_gpu(queries, torch.from_numpy(CORPUS), 5, WINDOW, tiling=TILING)
    check_same(found, 5)


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [True, False])
def test_more_slabs_are_no_more_waits(gpu: Gpu, streamed: bool) -> None:
    check_slabs(gpu, streamed=streamed)


def test_a_gpu_that_fails_is_made_up_for_by_the_cpu(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(task: Task, k: int) -> Any:
        raise RuntimeError("an illegal memory access was encountered")

    failing = replace(BACKENDS["gpu"], run=broken, suits=lambda task, k: (True, ""))
    monkeypatch.setitem(BACKENDS, "gpu", failing)
    monkeypatch.setattr(searches, "gpu", failing)
    found = windowed_search(TASK, 5)
    check_same(found.top, 5)
    assert "not gpu: RuntimeError: an illegal memory access" in found.why
    with pytest.raises(RuntimeError, match="illegal"):
        windowed_search(TASK, 5, "gpu")


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "gpu"])
def test_backends_of_the_cpu_leave_the_gpu_alone(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """But for faiss's inverted file, which goes to this process's GPU."""
    missing = BACKENDS[name].missing()
    if missing:
        pytest.skip(missing)
    placed: list[int] = []
    if name == "ivf":
        import faiss

        room = SimpleNamespace(setTempMemory=lambda size: None)
        on_gpu = lambda room, number, index: placed.append(number) or index  # noqa: E731
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
        monkeypatch.setattr(faiss, "StandardGpuResources", lambda: room, raising=False)
        monkeypatch.setattr(faiss, "index_cpu_to_gpu", on_gpu, raising=False)
    found = windowed_search(TASK, 5, name)
    wanted = mine_topk_reference(QUERIES, CORPUS, 5, WINDOW)
    assert np.array_equal(found.top.rows_Qk, wanted.rows_Qk)
    assert placed == [0] * (name == "ivf")
    assert not gpu.launches("") and not gpu.waits()
