"""Which searches a GPU that is not there is asked to do."""

from __future__ import annotations

import numpy as np
import pytest
from pretend_cuda import Gpu

from whet.mining.search import choose_search_backend
from whet.mining.search.backend import Task, search_task


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
