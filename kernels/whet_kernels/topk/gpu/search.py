"""`mine_topk` on an NVIDIA GPU: products in 16 or 8 bits on the tensor cores, answers to the bit.

For a block of queries and a slab of the corpus, `band_words` finds every row whose product lies
within the proved error of the query's band [lowest useful score, ceiling]; those rows, and only
those, are scored exactly (`score_rows`), and what the window and the exclusions allow is kept
(`admit_rows`). Now and then the kept are cut to the k best, whose worst lifts the lowest useful
score. The first such bound comes from a sample of the corpus, or from the caller. Nothing of this
waits for the host, so the device is never idle within a pass.

Why it is exact. A row is dropped unseen only if its product is under low - error, so that its exact
score is under `low`, and the k-th result is at least `low` at the end: this is checked, whoever the
bound came from. Rows over ceiling + error are over the ceiling, and counted in the kernel; rows
nearer than that are all in the band, since low <= ceiling where a result exists, and counted by
their exact scores. A query with more rows in the band than there is room for starts again with the
bound it has found, and after that goes to `exact_scan`, which needs no room.

The vectors' first pass is in band_kernel.py, exact scores in exact.py, a whole pass in one_pass.py,
bounds and counts around it in bounds.py.

Shape suffixes: Q queries, B queries of a block, N corpus rows, S rows of a slab, D dimensions,
C hints per query, k results per query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from whet_kernels.topk.exact import slices
from whet_kernels.topk.gpu.band_kernel import INTERPRET
from whet_kernels.topk.gpu.bounds import first_bound, hinted_bound, write_results
from whet_kernels.topk.gpu.one_pass import GpuBlock, GpuSearch, GpuTiling, Pass
from whet_kernels.topk.gpu.rounding import room_for_rounded, round_rows
from whet_kernels.topk.gpu.scan import exact_scan
from whet_kernels.topk.gpu.slabs import DeviceVectors, float_type, lies_on, rows_on
from whet_kernels.topk.window import TopK, Window, empty_result

Gear = Literal["auto", "bf16", "fp16", "int8"]


def mine_topk_gpu(
    query_QD: DeviceVectors,
    corpus_ND: DeviceVectors,
    k: int,
    window: Window,
    *,
    first_pass: Gear = "auto",
    warm_lo_Q: np.ndarray | None = None,
    hint_QC: np.ndarray | None = None,
    exact_counts: bool = True,
    tiling: GpuTiling | None = None,
    rescanned: Callable[[int], object] = int,
) -> TopK:
    """Exact top-k on a GPU; the same result, to the bit, as `mine_topk_reference`.

    `query_QD` and `corpus_ND` are float32, float16 or bfloat16, on the device or in host memory; a
    corpus that is not on the device, a memory map say, is streamed, once for every block of some
    thousand queries. Beyond inputs and outputs at most 256 MiB of device memory are used, for k up
    to 4096. `first_pass` is the format of the products: "auto" is fp16 where the vectors' range
    allows it, else bf16; int8 multiplies twice as fast and has more rows to score exactly.
    `warm_lo_Q`, float32 [Q], may hold guesses of the k-th scores, -inf for none: a good one saves
    time, a wrong one costs a second pass. `hint_QC`, int64, -1 for none, are rows that may be among
    the results; they help where the corpus lies on the device. Without `exact_counts`, `below_Q`
    takes rows within the first pass's error of the floor as not below it; the rest of the result is
    exact all the same. `rescanned(queries)` is called with how many queries no pass was enough for.
    Raises RuntimeError without a GPU, ValueError for other types or tensors on two devices,
    VectorError for NaN, infinity or overflow.
    """
    device = _device(query_QD, corpus_ND)
    float_type(query_QD), float_type(corpus_ND)
    cut = tiling or GpuTiling.of(k, corpus_ND, streamed=not lies_on(corpus_ND, device))
    result = empty_result(len(query_QD), k, window)
    if not len(query_QD):
        return result
    gear = _gear(query_QD, corpus_ND, device) if first_pass == "auto" else first_pass
    job = GpuSearch(query_QD, corpus_ND, k, window, gear, cut, device, exact_counts)
    warm_Q = np.full(len(query_QD), -np.inf, np.float32) if warm_lo_Q is None else warm_lo_Q
    for span in slices(len(query_QD), cut.queries):
        hint_BC = None if hint_QC is None else hint_QC[span]
        chosen = np.arange(span.start, span.stop)
        rescanned(_mine_block(job, chosen, warm_Q[span], hint_BC, result))
    return result


def _device(query_QD: DeviceVectors, corpus_ND: DeviceVectors) -> torch.device:
    """Where to work: where the vectors are, if on a GPU, else on the current GPU."""
    if INTERPRET:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError("mine_topk_gpu needs a CUDA GPU and there is none: use mine_topk")
    both = [part.device for part in (corpus_ND, query_QD) if isinstance(part, torch.Tensor)]
    there = {device for device in both if device.type == "cuda"}
    if len(there) > 1:
        raise ValueError(f"queries and corpus are on different GPUs: {both}")
    return there.pop() if there else torch.device("cuda", torch.cuda.current_device())


def _gear(query_QD: DeviceVectors, corpus_ND: DeviceVectors, device: torch.device) -> str:
    """fp16 if a few vectors lose less by it than bfloat16 would make them (2^-9 of a number)."""
    for vectors in (query_QD, corpus_ND):
        if not len(vectors):
            continue
        some_SD = rows_on(vectors, slice(0, None, -(-len(vectors) // 256)), device)
        rounded = room_for_rounded(len(some_SD), some_SD.shape[1], "fp16", device)
        round_rows(some_SD, "fp16", rounded)
        if not bool((rounded.error_S <= 2.0**-10 * rounded.norm_S).all()):
            return "bf16"
    return "fp16"


def _mine_block(
    job: GpuSearch,
    chosen: np.ndarray,
    warm_B: np.ndarray,
    hint_BC: np.ndarray | None,
    result: TopK,
) -> int:
    """Results of a block: a pass, another for what is not certain, a scan for what still is not,
    whose number is given.
    """
    block = GpuBlock.of(job, chosen)
    low_B = first_bound(block)
    warm = torch.from_numpy(np.minimum(np.asarray(warm_B, np.float32), block.window.ceiling_Q))
    low_B = torch.maximum(low_B, warm.to(job.device))
    if hint_BC is not None:
        low_B = torch.maximum(low_B, hinted_bound(block, hint_BC))
    for _ in range(2):
        outcome = Pass(block, low_B, job.k).run()
        left = ~outcome.certain_B
        left[torch.from_numpy(write_results(block, outcome, result))] = True
        if not left.any():
            return 0
        low_B = outcome.last_B[left].to(job.device)
        block = GpuBlock.of(job, block.chosen[left.numpy()])
    _scan(block, low_B, result)
    return len(block.chosen)


def _scan(block: GpuBlock, low_B: torch.Tensor, result: TopK) -> None:
    """Results and counts of queries that no pass was enough for."""
    job = block.job
    open_B = len(job.corpus_ND) - block.window.excluded_Q
    for part, done in exact_scan(block.query_BD, job.corpus_ND, job.k, block.window, low_B):
        rows = block.chosen[part]
        above_B, at_least_B = done.above_B.cpu().numpy(), done.at_least_B.cpu().numpy()
        result.scores_Qk[rows] = done.scores_Bk.cpu().numpy()
        result.rows_Qk[rows] = done.rows_Bk.cpu().numpy()
        result.above_Q[rows] = above_B
        result.below_Q[rows] = open_B[part] - np.maximum(above_B, at_least_B)
