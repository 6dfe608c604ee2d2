"""`mine_topk` on a CPU: float32 BLAS tiles, most of each discarded by one maximum over groups of
rows.

First pass: for a tile of corpus rows and a block of queries, one matrix product; the window is
widened by the proved error of a float32 dot; a query keeps its k + slack best, and a group of 32
rows whose maximum lies under the worst kept is never looked at again. Rows near a threshold are
scored exactly on the spot, so the counts are exact. Then `finish` scores the kept exactly. A query
it cannot certify (its k-th result ties with what was discarded) goes through a second scan, which
scores every row near its k-th exactly and so needs no certificate.

Nothing of size Q x N exists; memory is inputs + O(Q (k + slack)) + a tile.

Shape suffixes: T rows of a tile, G groups of rows, B queries of a block, K kept a query, H hit
groups, W rows a group. Tiles are [T, B], so that thresholds run along the contiguous axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from whet_kernels.exact_dot import (
    check_range,
    norms,
    score_error_Q,
    slices,
    tile_scores,
)
from whet_kernels.topk_window import TopK, Window, best_first, empty_result, finish

GROUP = 32
BLOCK_QUERIES = 512
TILE_SCORES = 1 << 21  # float32 scores a tile: 8 MiB, in the last-level cache
TILE_NUMBERS = 1 << 23  # float32 numbers of the corpus a tile: 32 MiB
DENSE_SHARE = (
    0.25  # of groups hit: above this, gathering them costs more than a plain top-k of the tile
)
SCAN_QUERIES = 64


@dataclass(frozen=True)
class Tiling:
    """How the work is cut; results do not depend on it."""

    rows: int
    queries: int
    slack: int

    @classmethod
    def of(cls, queries: int, dimension: int, k: int) -> Tiling:
        """Tiles that stay in the cache, and slack for rows within rounding of the k-th."""
        block = max(1, min(queries, BLOCK_QUERIES))
        rows = min(TILE_SCORES // block, TILE_NUMBERS // max(1, dimension))
        return cls(max(1024, rows), block, 16 + k // 16)


def mine_topk_tiled(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    k: int,
    window: Window,
    tiling: Tiling | None = None,
) -> TopK:
    """Exact top-k in bounded memory; the same result, to the bit, as `mine_topk_reference`."""
    tiling = tiling or Tiling.of(len(query_QD), query_QD.shape[1], k)
    query_QD = np.ascontiguousarray(query_QD, np.float32)
    queries = _Queries(query_QD, norms(query_QD, side="query"), window)
    result = empty_result(len(query_QD), k, window)
    if not len(query_QD):
        return result
    with _full_float32():
        blocks = _first_pass(queries, corpus_ND, k + tiling.slack, tiling)
        again = np.concatenate([_finish_block(block, corpus_ND, k, result) for block in blocks])
        for part in slices(len(again), SCAN_QUERIES):
            _scan(queries, corpus_ND, again[part], tiling, result)
    return result


@contextmanager
def _full_float32() -> Iterator[None]:
    """No tf32 or bf16 inside a float32 product, whatever training has set: the error bound is
    float32's.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Queries(NamedTuple):
    """Vectors, norms and window of some queries."""

    query_QD: np.ndarray
    norm_Q: np.ndarray
    window: Window

    def take(self, queries: np.ndarray) -> _Queries:
        return _Queries(self.query_QD[queries], self.norm_Q[queries], self.window.take(queries))


class _Block:
    """A block of queries on its way through the corpus: what it keeps, and its counts."""

    def __init__(self, queries: _Queries, at: slice, keep: int) -> None:
        self.at, self.keep = at, keep
        self.query_BD, self.norm_B, self.window = queries.take(np.arange(at.start, at.stop))
        self.query_DB = torch.from_numpy(np.ascontiguousarray(self.query_BD.T))
        count = len(self.query_BD)
        self.best_BK = torch.full((count, keep), -torch.inf)
        self.rows_BK = torch.full((count, keep), -1, dtype=torch.int64)
        self.above_B = np.zeros(count, np.int64)
        self.at_least_B = np.zeros(count, np.int64)
        self.error_B = np.zeros(count)
        self.has_ceiling = bool((self.window.ceiling_Q < np.inf).any())
        self.has_floor = bool((self.window.floor_Q > -np.inf).any())
        query_E = np.repeat(np.arange(count), self.window.excluded_Q)
        order = np.argsort(self.window.exclude.rows_E, kind="stable")
        self.excluded_E, self.excluder_E = self.window.exclude.rows_E[order], query_E[order]

    @property
    def floor_B(self) -> np.ndarray:
        return self.window.floor_Q

    @property
    def ceiling_B(self) -> np.ndarray:
        return self.window.ceiling_Q


@dataclass
class _Bounds:
    """The window of a block widened by the rounding error of one tile, float32 [B]."""

    over_B: torch.Tensor  # a float32 dot above this is above the ceiling
    near_B: torch.Tensor  # one below this is below the ceiling
    under_B: torch.Tensor  # one below this is below the floor
    clear_B: torch.Tensor  # one above this is above the floor

    @classmethod
    def of(cls, block: _Block, error_B: np.ndarray) -> _Bounds:
        ceiling_B, floor_B = (part.astype(np.float64) for part in (block.ceiling_B, block.floor_B))
        return cls(
            _up(ceiling_B + error_B),
            _down(ceiling_B - error_B),
            _down(floor_B - error_B),
            _up(floor_B + error_B),
        )


def _up(bound_B: np.ndarray) -> torch.Tensor:
    """Float32 above the bound: casting may round down."""
    return torch.from_numpy(np.nextafter(bound_B.astype(np.float32), np.float32(np.inf)))


def _down(bound_B: np.ndarray) -> torch.Tensor:
    """Float32 below the bound."""
    return torch.from_numpy(np.nextafter(bound_B.astype(np.float32), np.float32(-np.inf)))


def _tiles(corpus_ND: np.ndarray, rows: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The corpus in reading order: first row, float32 tile, its norms."""
    for at in slices(len(corpus_ND), rows):
        tile_TD = np.ascontiguousarray(corpus_ND[at], np.float32)
        if not tile_TD.flags.writeable:  # a read-only memory map: torch takes writable memory only
            tile_TD = tile_TD.copy()
        yield at.start, tile_TD, norms(tile_TD, side="corpus", first_row=at.start)


def _first_pass(
    queries: _Queries, corpus_ND: np.ndarray, keep: int, tiling: Tiling
) -> list[_Block]:
    """Every block sees every tile; each query keeps its `keep` best (or all there are)."""
    keep = min(keep, len(corpus_ND))
    parts = slices(len(queries.query_QD), tiling.queries)
    blocks = [_Block(queries, at, keep) for at in parts]
    height = -(-min(tiling.rows, len(corpus_ND)) // GROUP) * GROUP
    space = torch.empty(height * len(blocks[0].query_BD))
    for first, tile_TD, norm_T in _tiles(corpus_ND, tiling.rows):
        check_range(queries.norm_Q, norm_T, first)
        for block in blocks:
            error_B = score_error_Q(block.norm_B, float(norm_T.max()), tile_TD.shape[1])
            block.error_B = np.maximum(block.error_B, error_B)
            groups = -(-len(tile_TD) // GROUP)
            width = len(block.query_BD)
            score_TB = space[: groups * GROUP * width].view(groups * GROUP, width)
            _see(block, first, tile_TD, score_TB, _Bounds.of(block, error_B))
    return blocks


def _score(block: _Block, first: int, tile_TD: np.ndarray, score_TB: torch.Tensor) -> None:
    """Float32 dots of the tile; -inf for excluded rows and past the tile's end."""
    height = len(tile_TD)
    torch.mm(torch.from_numpy(tile_TD), block.query_DB, out=score_TB[:height])
    score_TB[height:] = -torch.inf
    here = slice(*np.searchsorted(block.excluded_E, [first, first + height]))
    rows, queries = block.excluded_E[here] - first, block.excluder_E[here]
    score_TB[torch.from_numpy(rows), torch.from_numpy(queries)] = -torch.inf


def _see(
    block: _Block, first: int, tile_TD: np.ndarray, score_TB: torch.Tensor, bounds: _Bounds
) -> None:
    """Let a block look at one tile: count, and keep what may be among its best."""
    _score(block, first, tile_TD, score_TB)
    groups_GWB = score_TB.view(-1, GROUP, score_TB.shape[1])
    max_GB = groups_GWB.amax(1)
    least_B = torch.maximum(_least_to_keep(block, max_GB, bounds), bounds.under_B)
    trigger_B = torch.minimum(least_B, bounds.near_B)
    if block.has_floor:
        floor_B = torch.where(bounds.under_B > -torch.inf, bounds.under_B, torch.inf)
        trigger_B = torch.minimum(trigger_B, floor_B)
    hit = np.flatnonzero((max_GB >= trigger_B).numpy())
    if len(hit) > DENSE_SHARE * max_GB.numel():
        score_HW = score_TB.T.contiguous()
        query_H, row_H = np.arange(len(score_HW)), np.full(len(score_HW), first)
    else:
        group_H, query_H = np.divmod(hit, score_TB.shape[1])
        score_HW = groups_GWB[torch.from_numpy(group_H), :, torch.from_numpy(query_H)]
        row_H = first + group_H * GROUP
    _count(block, first, tile_TD, (score_HW, query_H, row_H), bounds)
    _keep(block, (score_HW, query_H, row_H), least_B, bounds.over_B)


def _least_to_keep(block: _Block, max_GB: torch.Tensor, bounds: _Bounds) -> torch.Tensor:
    """A float32 score per query under which nothing can be among the `keep` best of what was seen
    with this tile.

    Once `keep` are kept, the worst of them (strictly: a tie with it is no better). Before, the
    keep-th largest among the kept and the groups' maxima that are inside the window: each stands
    for another row.
    """
    worst_B = block.best_BK[:, -1]
    if bool((worst_B > -torch.inf).all()):
        return torch.nextafter(worst_B, torch.tensor(torch.inf))
    inside_BG = torch.where(max_GB <= bounds.over_B, max_GB, -torch.inf).T
    both = torch.cat([block.best_BK, inside_BG], dim=1)
    return both.topk(block.keep, dim=1).values[:, -1]


Hits = tuple[
    torch.Tensor, np.ndarray, np.ndarray
]  # scores [H, W], query of each, first row of each


def _count(block: _Block, first: int, tile_TD: np.ndarray, hits: Hits, bounds: _Bounds) -> None:
    """Add this tile to the exact counts of rows above the ceiling and at the floor or above."""
    score_HW, query_H, row_H = hits
    query = torch.from_numpy(query_H)

    def near(
        low_B: torch.Tensor, high_B: torch.Tensor
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How many are clearly over, and the pairs too near to tell with their exact scores."""
        high_H1, low_H1 = high_B[query][:, None], low_B[query][:, None]
        over_H = np.count_nonzero((score_HW > high_H1).numpy(), axis=1)  # torch sums bools slowly
        touched_H = np.count_nonzero((score_HW >= low_H1).numpy(), axis=1)
        odd = torch.from_numpy(np.flatnonzero(touched_H != over_H))  # few: the band is narrow
        odd_OW = score_HW[odd]
        unclear_OW = (odd_OW >= low_H1[odd]) & (odd_OW <= high_H1[odd]) & (odd_OW > -torch.inf)
        o, w = (part.numpy() for part in unclear_OW.nonzero(as_tuple=True))
        h = odd.numpy()[o]
        exact = tile_scores(block.query_BD, tile_TD, query_H[h], row_H[h] - first + w)
        return over_H, query_H[h], exact

    if block.has_ceiling:
        over_H, query_M, exact_M = near(bounds.near_B, bounds.over_B)
        np.add.at(block.above_B, query_H, over_H)
        np.add.at(block.above_B, query_M, exact_M > block.ceiling_B[query_M])
    if block.has_floor:
        over_H, query_M, exact_M = near(bounds.under_B, bounds.clear_B)
        np.add.at(block.at_least_B, query_H, over_H)
        np.add.at(block.at_least_B, query_M, exact_M >= block.floor_B[query_M])


def _keep(block: _Block, hits: Hits, least_B: torch.Tensor, over_B: torch.Tensor) -> None:
    """Merge the hits inside the window into the best kept so far."""
    score_HW, query_H, row_H = hits
    query = torch.from_numpy(query_H)
    high_H = torch.minimum(over_B, torch.tensor(torch.finfo().max))[query]
    inside_HW = (score_HW >= least_B[query][:, None]) & (score_HW <= high_H[:, None])
    inside_HW &= score_HW > -torch.inf
    if (
        len(query_H) == len(block.query_BD) and score_HW.shape[1] > GROUP
    ):  # dense: a row for every query
        score_BM = torch.where(inside_HW, score_HW, -torch.inf)
        score_BM, at_BM = score_BM.topk(min(block.keep, score_BM.shape[1]), dim=1)
        row_BM = at_BM + torch.from_numpy(row_H)[:, None]
    else:
        h, w = inside_HW.nonzero(as_tuple=True)
        score_BM, row_BM = _by_query(
            query[h], score_HW[h, w], torch.from_numpy(row_H)[h] + w, len(block.query_BD)
        )
    if score_BM.shape[1]:
        best, at = torch.cat([block.best_BK, score_BM], dim=1).topk(block.keep, dim=1)
        block.best_BK = best
        block.rows_BK = torch.cat([block.rows_BK, row_BM], dim=1).gather(1, at)


def _by_query(
    query_M: torch.Tensor, score_M: torch.Tensor, row_M: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A flat list as one padded row for every query."""
    query_M, order = query_M.sort(stable=True)
    per_B = torch.bincount(query_M, minlength=count)
    place_M = torch.arange(len(query_M)) - (per_B.cumsum(0) - per_B)[query_M]
    width = int(per_B.max())
    score_BM = torch.full((count, width), -torch.inf)
    row_BM = torch.full((count, width), -1, dtype=torch.int64)
    score_BM[query_M, place_M] = score_M[order]
    row_BM[query_M, place_M] = row_M[order]
    return score_BM, row_BM


def _finish_block(block: _Block, corpus_ND: np.ndarray, k: int, result: TopK) -> np.ndarray:
    """Write a block's results and counts; gives the queries that are not certain."""
    best_BK = block.best_BK.numpy()
    rows_BK = np.where(best_BK > -np.inf, block.rows_BK.numpy(), -1)
    full_B = rows_BK.min(axis=1, initial=0) >= 0 if block.keep else np.zeros(len(rows_BK), bool)
    unseen_B = np.where(full_B, best_BK.min(axis=1, initial=np.inf) + block.error_B, -np.inf)
    done = finish(block.query_BD, corpus_ND, rows_BK, unseen_B, k=k, window=block.window)
    at = block.at
    result.scores_Qk[at], result.rows_Qk[at] = done.scores_Qk, done.rows_Qk
    result.above_Q[at] = block.above_B
    at_least_B = np.where(
        block.floor_B > -np.inf, block.at_least_B, len(corpus_ND) - block.window.excluded_Q
    )
    result.below_Q[at] = (
        len(corpus_ND) - block.window.excluded_Q - np.maximum(block.above_B, at_least_B)
    )
    return at.start + np.flatnonzero(~done.certain_Q)


def _scan(
    queries: _Queries, corpus_ND: np.ndarray, chosen: np.ndarray, tiling: Tiling, result: TopK
) -> None:
    """Find the k best of the chosen, exactly scoring every row that could be among them."""
    block = _Block(queries.take(chosen), slice(0, len(chosen)), 1)
    scores_Bk, rows_Bk = result.scores_Qk[chosen], result.rows_Qk[chosen]
    least_B = np.nan_to_num(scores_Bk[:, -1].astype(np.float64), nan=-np.inf)
    scores_Bk[:], rows_Bk[:] = np.nan, -1
    for first, tile_TD, norm_T in _tiles(corpus_ND, tiling.rows):
        error_B = score_error_Q(block.norm_B, float(norm_T.max()), tile_TD.shape[1])
        bounds = _Bounds.of(block, error_B)
        score_TB = torch.empty(len(tile_TD), len(chosen))
        _score(block, first, tile_TD, score_TB)
        low_B = torch.maximum(_down(least_B - error_B), bounds.under_B)
        maybe_TB = (score_TB >= low_B) & (score_TB <= bounds.over_B) & (score_TB > -torch.inf)
        row_M, query_M = (part.numpy() for part in maybe_TB.nonzero(as_tuple=True))
        exact_M = tile_scores(block.query_BD, tile_TD, query_M, row_M)
        scores_Bk, rows_Bk = _merge(scores_Bk, rows_Bk, (query_M, exact_M, row_M + first), block)
        worst_B = np.nan_to_num(scores_Bk[:, -1].astype(np.float64), nan=-np.inf)
        least_B = np.maximum(least_B, worst_B)
    result.scores_Qk[chosen], result.rows_Qk[chosen] = scores_Bk, rows_Bk


def _merge(
    scores_Bk: np.ndarray,
    rows_Bk: np.ndarray,
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    block: _Block,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best, exactly ordered, of those held and those found in the window."""
    query_M, exact_M, row_M = found
    keep_M = (exact_M >= block.floor_B[query_M]) & (exact_M <= block.ceiling_B[query_M])
    score_BM, row_BM = _by_query(
        torch.from_numpy(query_M[keep_M]),
        torch.from_numpy(exact_M[keep_M]),
        torch.from_numpy(row_M[keep_M]),
        len(scores_Bk),
    )
    scores = np.concatenate([scores_Bk, score_BM.numpy()], axis=1)
    rows = np.concatenate([rows_Bk, row_BM.numpy()], axis=1)
    return best_first(np.nan_to_num(scores, nan=-np.inf), rows, rows >= 0, scores_Bk.shape[1])
