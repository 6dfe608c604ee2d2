"""The int8 first pass: a cheaper product finds what is worth a float32 look.

Every 32 rows of the corpus share a scale s, every query has its own: x = s xi + dx, q = sq qi + dq
with integers of at most 127. Integer sums are exact, so the product differs from the dot by

    |q.x - sq s qi.xi| = |q.dx + dq.(s xi)| <= |q| |dx| + |dq| (|x| + |dx|)     (Cauchy-Schwarz)

with the norms of dx and dq measured, not assumed. A row whose int8 score leaves no doubt is counted
or dropped; the others get a float32 dot (sift.py), and go on as in the float32 pass. So the result
is the same to the bit; only queries with most of the corpus in doubt (vectors of very different
norms, say) are better off in float32, and `suits_int8` sends them there.

On a CPU with VNNI or AMX torch's int8 product is much faster than float32, elsewhere it can be
slower: `int8_gain` measures it.

Shape suffixes: N corpus rows, S sampled rows, D dimensions, T rows of a tile, G groups of rows, R
rows of a matrix, X numbers of a group, Q queries, B queries of a block.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch

from whet_kernels.topk.cpu.block import Block, Queries, Tile, float32_below, tiles, up
from whet_kernels.topk.exact import VectorError, score_error_Q, slices

SCALED_ROWS = 32  # rows of a tile that share a scale
SAMPLE = 2048  # rows that tell how many would be in doubt
DOUBT = 0.5  # share of the corpus in doubt; up to a third was measured, and int8 was faster
SAMPLE_QUERIES = 4096
ROOM = 48  # rows a query has room for beyond those it keeps, at least
TINY = 1e-17  # squares of smaller losses may vanish in float32


def in_threads(pool: ThreadPoolExecutor, total: int, run: Callable[[int, int], None]) -> None:
    """Call `run(start, stop)` for consecutive parts of range(total), one per thread."""
    parts = slices(total, max(1, -(-total // torch.get_num_threads())))
    list(pool.map(lambda span: run(span.start, span.stop), parts))


class Int8(NamedTuple):
    """Vectors in int8: [R, D] integers, the scale of each group, the norms of what is lost."""

    whole_RD: torch.Tensor
    scale_G: np.ndarray  # float64, exactly float32 numbers
    lost_R: np.ndarray  # upper bounds, float64

    @classmethod
    def of(
        cls, vector_RD: np.ndarray, norm_R: np.ndarray, group: int, pool: ThreadPoolExecutor
    ) -> Int8:
        """Round rows to int8, one scale a `group` of them; rows of zeros fill the last group."""
        from whet_kernels.topk.compiled import round_rows

        count, groups = len(vector_RD), -(-len(vector_RD) // group)
        whole_RD = np.empty((groups * group, vector_RD.shape[1]), np.int8)
        whole_RD[count:] = 0
        scale_G, lost_R = np.empty(groups, np.float32), np.zeros(groups * group, np.float32)

        def run(start: int, stop: int) -> None:
            round_rows((start, stop, group), vector_RD, whole_RD, scale_G, lost_R)

        in_threads(pool, groups, run)
        # The loss was computed in float32: sums are off by D 2^-24, entries by 2^-23 of the norm.
        bound_R = lost_R.astype(np.float64) * (1 + 2.0**-10) + TINY
        bound_R[:count] += norm_R * 2.0**-20
        return cls(torch.from_numpy(whole_RD), scale_G.astype(np.float64), bound_R)


class Int8Tile(NamedTuple):
    """A tile in int8, the largest norm of its rows and of what each group lost."""

    int8: Int8
    norm: float
    lost_G: np.ndarray

    @classmethod
    def of(cls, tile: Tile, pool: ThreadPoolExecutor) -> Int8Tile:
        """Round a tile."""
        small = Int8.of(tile.rows_TD, tile.norm_T, SCALED_ROWS, pool)
        lost_G = small.lost_R.reshape(-1, SCALED_ROWS).max(1)
        return cls(small, float(tile.norm_T.max()), lost_G)


def int8_error_B(norm_B: np.ndarray, lost_B: np.ndarray, tile: Int8Tile) -> np.ndarray:
    """Bound, float64 [B], of |int8 score - exact dot| less norm_B lost_G for the tile's rows.

    The last term is for turning integer sums into float64 scores.
    """
    error_B: np.ndarray = lost_B * (tile.norm + tile.lost_G.max()) + norm_B * tile.norm * 2.0**-40
    return error_B


class Int8Block:
    """A block of queries in the int8 pass: what `sift` holds for them."""

    def __init__(self, block: Block, k: int, pool: ThreadPoolExecutor) -> None:
        from whet_kernels.topk.cpu.sift import Kept, Limits

        self.block, self.k, self.pool = block, min(k, block.keep), pool
        self.query = Int8.of(block.query_BD, block.norm_B, 1, pool)
        self.kept = Kept.empty(len(block.chosen), block.keep + max(ROOM, block.keep // 2))
        nothing_B = np.zeros(len(block.chosen), np.float32)
        self.limits = Limits(
            block.ceiling_B, nothing_B, nothing_B, block.error_B, *block.window.exclude
        )

    def see(self, tile: Tile, small: Int8Tile, space: torch.Tensor) -> None:
        """Let the block look at one tile; `space` holds B x (padded T) numbers of 32 bits."""
        from whet_kernels.topk.cpu.sift import FloatTile, IntegerScores, sift

        block, kept = self.block, self.kept
        bounds = block.bounds(tile)
        shape = (len(block.chosen), len(small.int8.whole_RD))
        sum_BT = space[: shape[0] * shape[1]].view(torch.int32).view(shape)
        torch._int_mm(self.query.whole_RD, small.int8.whole_RD.T, out=sum_BT)
        # from the exact dot on to a float32 one
        error_B = int8_error_B(block.norm_B, self.query.lost_R, small) + bounds.error_B
        scores = IntegerScores(
            sum_BT.numpy(),
            len(tile.rows_TD),
            self.query.scale_G,
            small.int8.scale_G,
            error_B,
            block.norm_B,
            small.lost_G,
        )
        vectors = FloatTile(block.query_BD, tile.rows_TD, tile.first)
        limits = self.limits._replace(
            over_B=bounds.over_B.numpy(), near_B=bounds.near_B.numpy(), rounding_B=block.error_B
        )
        np.maximum(kept.least_B, float32_below(block.start_B).numpy(), out=kept.least_B)

        def run(start: int, stop: int) -> None:
            sift((start, stop, self.k), scores, vectors, limits, kept)

        in_threads(self.pool, len(error_B), run)

    def settle(self) -> None:
        """Hand what is kept, best first, and the counts to the block."""
        kept, block = self.kept, self.block
        held_BC = np.arange(kept.score_BC.shape[1]) < kept.size_B[:, None]
        score_BC = torch.from_numpy(np.where(held_BC, kept.score_BC, np.float32(-np.inf)))
        block.merge(score_BC, torch.from_numpy(np.where(held_BC, kept.row_BC, -1)))
        block.above_B += kept.above_B
        block.let_go_B = kept.least_B.astype(np.float64)


def suits_int8(
    queries: Queries, corpus_ND: np.ndarray, k: int, pool: ThreadPoolExecutor
) -> tuple[np.ndarray, np.ndarray]:
    """Which queries the int8 pass is faster for, bool [Q], and a score their k-th result surely
    reaches, float64 [Q], both by a sample of the corpus.

    Not those with a floor (its count needs every score), nor those with most rows within the int8
    error of their ceiling.
    """
    suits_Q = (queries.window.floor_Q == -np.inf) & np.isfinite(queries.norm_Q)
    sure_Q = np.full(len(suits_Q), -np.inf)
    if corpus_ND.shape[1] < 2:  # torch 2.13's int8 product misreads a transposed single column
        return np.zeros_like(suits_Q), sure_Q
    rows = np.unique(np.random.default_rng(0).integers(0, len(corpus_ND), SAMPLE))
    try:
        tile = next(tiles(corpus_ND[rows], len(rows)))
    except VectorError:  # the pass over the whole corpus names the row
        return np.zeros_like(suits_Q), sure_Q
    small = Int8Tile.of(tile, pool)
    for span in slices(len(suits_Q), SAMPLE_QUERIES):
        part = queries.take(np.arange(span.start, span.stop))
        score_BS = torch.from_numpy(part.query_QD) @ torch.from_numpy(tile.rows_TD).T
        lost_B = Int8.of(part.query_QD, part.norm_Q, 1, pool).lost_R
        error_B = int8_error_B(part.norm_Q, lost_B, small) + part.norm_Q * small.lost_G.max()
        ceiling_B = part.window.ceiling_Q.astype(np.float64)
        doubt_B = _share(score_BS, ceiling_B + error_B) - _share(score_BS, ceiling_B - error_B)
        suits_Q[span] &= doubt_B < DOUBT
        if not np.isfinite(part.sure_Q).all():  # a warm start knows more than a sample
            sure_Q[span] = _reached(part, tile, score_BS, k)
    return suits_Q, sure_Q


def _reached(queries: Queries, tile: Tile, score_BS: torch.Tensor, k: int) -> np.ndarray:
    """The k-th best of a sample that is surely allowed, however many of its rows are excluded."""
    error_B = score_error_Q(queries.norm_Q, float(tile.norm_T.max()), tile.rows_TD.shape[1])
    reach = k + int(queries.window.excluded_Q.max(initial=0))
    if reach > score_BS.shape[1]:
        return np.full(len(error_B), -np.inf)
    inside_BS = score_BS <= float32_below(queries.window.ceiling_Q - error_B)[:, None]
    best_BK = torch.where(inside_BS, score_BS, -torch.inf).topk(reach, dim=1).values
    reached_B: np.ndarray = best_BK[:, -1].double().numpy() - error_B
    return reached_B


def _share(score_BS: torch.Tensor, bound_B: np.ndarray) -> np.ndarray:
    """Of the sampled rows, the share that scores at most `bound_B`."""
    below_BS = (score_BS <= up(bound_B)[:, None]).numpy()
    share_B: np.ndarray = np.count_nonzero(below_BS, axis=1) / below_BS.shape[1]
    return share_B


@cache
def int8_gain() -> float:
    """How many times as fast as float32 the int8 product is here, measured once; 0: no numba."""
    if find_spec("numba") is None:
        return 0.0
    left, right = torch.randn(512, 384), torch.randn(2048, 384)
    small, other = (part.mul(40).clamp(-127, 127).to(torch.int8) for part in (left, right))
    score, sums = torch.empty(512, 2048), torch.empty(512, 2048, dtype=torch.int32)

    def seconds(run: Callable[[], object]) -> float:
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    try:
        times = [
            (
                seconds(lambda: torch.mm(left, right.T, out=score)),
                seconds(lambda: torch._int_mm(small, other.T, out=sums)),
            )
            for _ in range(6)
        ]
    except (RuntimeError, AttributeError):  # a torch without an int8 product for this CPU
        return 0.0
    return min(slow for slow, _ in times[1:]) / min(fast for _, fast in times[1:])
