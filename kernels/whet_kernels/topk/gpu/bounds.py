"""Around a pass of the search on a GPU: the first bound before it, the exact counts after it.

Shape suffixes: B queries of a block, S rows of a slab, W bins, C hints per query, E exclusions,
M pairs, k results per query.
"""

from __future__ import annotations

import numpy as np
import torch

from whet_kernels.topk.exact import slices
from whet_kernels.topk.gpu.band_kernel import WORD, Rounded, best_of_bins
from whet_kernels.topk.gpu.edges import float32_at_most
from whet_kernels.topk.gpu.exact import (
    CandidateRows,
    SlabHits,
    admit_rows,
    pair_scores_torch,
    score_rows,
)
from whet_kernels.topk.gpu.one_pass import SORTED, GpuBlock, Pass, PassResult
from whet_kernels.topk.gpu.rounding import room_for_rounded, round_rows
from whet_kernels.topk.gpu.slabs import rows_on
from whet_kernels.topk.window import Exclude, TopK, Window

MOST_EXCLUDED = 1024  # in the sample, for a query that a first bound is worth looking for
EXCLUDED_NUMBERS = 1 << 22  # numbers of excluded rows scored at a time, 32 MiB in float64


def first_bound(block: GpuBlock) -> torch.Tensor:
    """A lower bound of each query's k-th result from a sample of the corpus, float32 [B].

    Of the bins of the sample whose best is clearly inside the window, as many may be excluded rows
    as the sample holds of them; the best of the k-th other one is a score of k admissible rows.
    """
    job, count = block.job, block.count
    none_B = torch.full((count,), -torch.inf, device=job.device)
    step = max(1, len(job.corpus_ND) // job.cut.sample)
    # A bin holds 32 rows and vouches for one of them; with fewer than k bins nothing is proved.
    if -(-len(job.corpus_ND) // step) < WORD * job.k:
        return none_B
    excluded_B = _sampled_exclusions(block.window, step)
    # Each excluded row of the sample may be the best of a bin, so as many bins more are kept.
    depth = job.k + min(int(excluded_B.max(initial=0)), MOST_EXCLUDED)
    best_BW = none_B[:, None]
    slab_room = room_for_rounded(job.cut.rows, block.query_BD.shape[1], job.gear, job.device)
    for slab in job.slabs(step):
        slab_room.largest_2.zero_()
        rows = round_rows(slab.vector_SD, job.gear, slab_room)
        new_BW = _clear_best(block, rows, len(slab.vector_SD))
        best_BW = torch.cat([best_BW, new_BW], 1)
        best_BW = best_BW.topk(min(depth, best_BW.shape[1]), dim=1).values
    at_B = torch.from_numpy(job.k - 1 + excluded_B).to(job.device)
    # More exclusions than the bins kept: no bound, which is always right.
    inside_B = at_B < best_BW.shape[1]
    bound_B = best_BW.gather(1, at_B.clamp(max=best_BW.shape[1] - 1)[:, None])[:, 0]
    return torch.where(inside_B, bound_B, -torch.inf)


def _clear_best(block: GpuBlock, rows: Rounded, count: int) -> torch.Tensor:
    """Lower bounds of the best exact score in each bin, -inf if it may be outside the window."""
    # From infinity on nothing is in the band but what may be outside of the ceiling.
    low_B = block.edges.update(rows, torch.full_like(block.limits.ceiling_B, torch.inf)).low_B
    error_B = block.edges.error_B
    best_BW = best_of_bins(block.rounded, rows, count, low_B)[: block.count]
    for part in slices(block.count, max(1, SORTED // best_BW.shape[1])):  # few in float64 at a time
        bound_BW = float32_at_most(best_BW[part].double() - error_B[: block.count][part, None])
        floor_B1 = block.limits.floor_B[: block.count][part, None]
        best_BW[part] = torch.where(bound_BW >= floor_B1, bound_BW, -torch.inf)
    return best_BW


def hinted_bound(block: GpuBlock, hint_BC: np.ndarray) -> torch.Tensor:
    """The k-th best score of each query's hints that are allowed, float32 [B], -inf where there are
    fewer: `reached_by_hints` on the device, which must hold the corpus as a tensor.
    """
    job, k = block.job, block.job.k
    corpus_ND = job.corpus_ND
    if hint_BC.shape[1] < k or not isinstance(corpus_ND, torch.Tensor):
        return torch.full((block.count,), -torch.inf, device=job.device)
    row_BC = torch.from_numpy(np.ascontiguousarray(hint_BC)).to(job.device)
    row_BC = torch.where(row_BC < len(corpus_ND), row_BC, -1).sort(dim=1, descending=True).values
    row_BC[:, 1:][row_BC[:, 1:] == row_BC[:, :-1]] = -1  # a row counts once
    row_BC = row_BC.sort(dim=1, descending=True).values.int()
    there_B = (row_BC >= 0).sum(1).int()
    hits = SlabHits(row_BC, torch.empty(row_BC.shape, device=job.device), there_B)
    score_rows(block.query_BD, corpus_ND, hits)
    score_BC = torch.full_like(hits.score_BF, -torch.inf)
    kept = CandidateRows(row_BC.long(), score_BC, *torch.zeros_like(there_B).repeat(3, 1))
    admit_rows(hits, 0, torch.full_like(score_BC[:, 0], -torch.inf), block.limits, kept)
    return score_BC.topk(k, dim=1).values[:, -1]


def _sampled_exclusions(window: Window, step: int) -> np.ndarray:
    """How many excluded rows of each query are in the sample, int64 [B]."""
    before_E1 = np.concatenate([[0], np.cumsum(window.exclude.rows_E % step == 0)])
    return np.diff(before_E1[window.exclude.offsets_Q1])


def write_results(block: GpuBlock, outcome: PassResult, result: TopK) -> np.ndarray:
    """Results and counts of the certain queries into `result`; gives the queries, by their place in
    the block, whose counts are still in doubt.
    """
    certain = outcome.certain_B.numpy()
    rows = block.chosen[certain]
    result.scores_Qk[rows] = outcome.scores_Bk.numpy()[certain]
    result.rows_Qk[rows] = outcome.rows_Bk.numpy()[certain]
    if not (block.has_ceiling or block.has_floor):
        return np.empty(0, np.int64)
    at_least_B, lost = _at_least(block, outcome)
    excluded_above_B, excluded_at_least_B = _excluded_counts(block)
    above_B = outcome.above_B.numpy() - excluded_above_B
    open_B = len(block.job.corpus_ND) - block.window.excluded_Q
    below_B = open_B - np.maximum(above_B, at_least_B - excluded_at_least_B)
    result.above_Q[rows], result.below_Q[rows] = above_B[certain], below_B[certain]
    return lost


def _at_least(block: GpuBlock, outcome: PassResult) -> tuple[np.ndarray, np.ndarray]:
    """How many rows score the floor or more, excluded or not; and the queries still in doubt.

    A pass counts the rows above a threshold: here above the number just under the floor.
    """
    has_floor_B, near_B = block.window.floor_Q > -np.inf, outcome.near_B.numpy()
    counted_B = outcome.floor_B.numpy() + near_B
    at_least_B = np.where(has_floor_B, counted_B, len(block.job.corpus_ND))
    doubtful = np.flatnonzero(outcome.certain_B.numpy() & has_floor_B & (near_B > 0))
    if not block.job.exact_counts or not len(doubtful):
        return at_least_B, np.empty(0, np.int64)
    under_B = np.nextafter(block.window.floor_Q[doubtful], np.float32(-np.inf))
    count = len(doubtful)
    no_rows = Exclude(np.zeros(count + 1, np.int64), np.empty(0, np.int64))
    window = Window(under_B, np.full(count, np.inf, np.float32), no_rows)  # nothing is a result
    counting = GpuBlock(block.job, block.chosen[doubtful], window)
    counted = Pass(counting, torch.from_numpy(under_B), 1).run()
    at_least_B[doubtful] = counted.above_B.numpy()
    return at_least_B, doubtful[counted.lost_B.numpy()]


def _excluded_counts(block: GpuBlock) -> tuple[np.ndarray, np.ndarray]:
    """How many of each query's excluded rows score above the ceiling, and at the floor or above."""
    window, count = block.window, block.count
    query_E = np.repeat(np.arange(count), window.excluded_Q)
    score_E = np.empty(len(query_E), np.float32)
    for part in slices(len(query_E), max(1, EXCLUDED_NUMBERS // block.query_BD.shape[1])):
        rows_MD = rows_on(block.job.corpus_ND, window.exclude.rows_E[part], block.job.device)
        query_M = torch.from_numpy(query_E[part]).to(block.job.device)
        score_E[part] = pair_scores_torch(block.query_BD[query_M], rows_MD).cpu().numpy()
    above_E = score_E > window.ceiling_Q[query_E]
    at_least_E = score_E >= window.floor_Q[query_E]
    parts = (query_E[above_E], query_E[at_least_E])
    above_B, at_least_B = (np.bincount(part, minlength=count) for part in parts)
    return above_B, at_least_B
