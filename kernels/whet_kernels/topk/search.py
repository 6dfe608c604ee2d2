"""Exact top-k of a dot product among the rows a window allows: one call for CPU and GPU.

Shape suffixes: Q queries, N corpus rows, D dimensions, C hints per query, k results per query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from whet_kernels.topk.window import TopK, Window, check_search, reached_by_hints

SHARE = 0.5  # of the device's free memory that a corpus may take

Vectors = np.ndarray | torch.Tensor
Backend = Literal["auto", "cpu", "int8", "gpu"]


def mine_topk(
    query_QD: Vectors,
    corpus_ND: Vectors,
    k: int,
    window: Window | None = None,
    *,
    backend: Backend = "auto",
    hint_QC: np.ndarray | None = None,
    seen: Callable[[int], object] = int,
    rescanned: Callable[[int], object] = int,
) -> TopK:
    """The k best rows of the corpus for each query among those allowed, exact, in memory that does
    not grow with N.

    A row is allowed iff it is not excluded and floor_Q <= s <= ceiling_Q (float32), s as in
    exact.py. `query_QD` and `corpus_ND` are float32 (float16 is widened exactly), of any norm; the
    corpus may be a memory map, read a tile at a time, or lie on a GPU.

    `backend`: cpu, int8 (on a CPU, needs numba: the queries it suits go through int8 products
    first), gpu (CUDA and triton); auto is gpu where the corpus lies on one, else cpu. `hint_QC`
    (int64, -1 for none) are rows that may be among the results, from an earlier search say. Backend
    and hints change the time alone. `seen(rows)` is called on a CPU as rows of the corpus are done,
    `rescanned(queries)` with how many queries needed a scan of every row near their k-th result.

    Raises ValueError for shapes that do not fit and VectorError for NaN, infinity or overflow.

    >>> corpus = np.array([[0.9], [0.5], [0.7]], np.float32)
    >>> mine_topk(np.ones((1, 1), np.float32), corpus, 2).rows_Qk
    array([[0, 2]])
    """
    window = check_search(query_QD, corpus_ND, k, window)
    if backend == "auto":
        on_gpu = isinstance(corpus_ND, torch.Tensor) and corpus_ND.is_cuda
        backend = "gpu" if on_gpu else "cpu"
    if backend == "gpu":
        return _on_gpu(query_QD, corpus_ND, k, window, hint_QC, rescanned=rescanned)
    from whet_kernels.topk.cpu.search import mine_topk_tiled

    query, corpus = np.asarray(query_QD), np.asarray(corpus_ND)
    corpus = corpus_ND if isinstance(corpus_ND, np.memmap) else corpus  # read a tile at a time
    return mine_topk_tiled(
        query,
        corpus,
        k,
        window,
        int8=backend == "int8",
        hint_QC=hint_QC,
        seen=seen,
        rescanned=rescanned,
    )


def _on_gpu(
    query_QD: Any,
    corpus_ND: Any,
    k: int,
    window: Window,
    hint_QC: np.ndarray | None,
    *,
    rescanned: Callable[[int], object],
) -> TopK:
    from whet_kernels.topk.gpu.search import mine_topk_gpu

    if isinstance(corpus_ND, np.ndarray) and not fits_on_gpu(corpus_ND):
        # on the CPU, where the rows of the hints are
        reached_Q = reached_by_hints(np.asarray(query_QD), corpus_ND, k, window, hint_QC)
        warm_Q = reached_Q.astype("f")
        return mine_topk_gpu(query_QD, corpus_ND, k, window, warm_lo_Q=warm_Q, rescanned=rescanned)
    if isinstance(corpus_ND, np.ndarray):
        corpus_ND = torch.from_numpy(np.ascontiguousarray(corpus_ND)).cuda()
    return mine_topk_gpu(query_QD, corpus_ND, k, window, hint_QC=hint_QC, rescanned=rescanned)


def fits_on_gpu(corpus_ND: np.ndarray) -> bool:
    """Whether a corpus is copied to the GPU for its search; a larger one is streamed."""
    if not torch.cuda.is_available():
        return False
    # What torch keeps for later counts as taken to CUDA, and is free to us.
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return bool(corpus_ND.nbytes < SHARE * (torch.cuda.mem_get_info()[0] + kept))
