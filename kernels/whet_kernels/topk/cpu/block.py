"""A block of queries on its way through the corpus, a tile at a time: its window, what it keeps,
what it counts. Both first passes (float32 in search.py, int8 in int8.py) feed it.

Shape suffixes: Q queries, N corpus rows, D dimensions, T rows of a tile, G groups of rows, B
queries of a block, K kept per query, H hits, W rows per hit, M pairs. Float32 tiles are [T, B], so
that thresholds run along the contiguous axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from whet_kernels.topk.exact import norms, score_error_Q, slices, tile_scores
from whet_kernels.topk.window import TopK, Window, finish

GROUP = 8  # rows of a tile that one maximum stands for
PENDING = 48  # rows per query, on average, that wait to be merged into what is kept
BLOCK_QUERIES = 1024
TILE_SCORES = 1 << 21  # scores per tile: 8 MiB, in the last-level cache
TILE_NUMBERS = 1 << 23  # float32 numbers of the corpus per tile: 32 MiB
START_ERRORS = 4  # rounding errors a warm start stays below the score it is sure of


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


class Tile(NamedTuple):
    """Rows of the corpus from `first` on, float32 and contiguous, and their norms."""

    first: int
    rows_TD: np.ndarray
    norm_T: np.ndarray


def tiles(corpus_ND: np.ndarray, rows: int) -> Iterator[Tile]:
    """The corpus in reading order."""
    for span in slices(len(corpus_ND), rows):
        tile_TD = np.ascontiguousarray(corpus_ND[span], np.float32)
        if not tile_TD.flags.writeable:  # a read-only memory map: torch takes writable memory only
            tile_TD = tile_TD.copy()
        yield Tile(span.start, tile_TD, norms(tile_TD, side="corpus", first_row=span.start))


class Queries(NamedTuple):
    """Vectors, norms and window of some queries, and a score their k-th result surely reaches."""

    query_QD: np.ndarray
    norm_Q: np.ndarray
    window: Window
    sure_Q: np.ndarray  # float64, -inf where nothing is known

    def take(self, queries: np.ndarray) -> Queries:
        """Some of them, in the given order."""
        return Queries(
            self.query_QD[queries],
            self.norm_Q[queries],
            self.window.take(queries),
            self.sure_Q[queries],
        )


class Block:
    """Some queries, the best rows they have met so far, and their counts."""

    def __init__(self, queries: Queries, chosen: np.ndarray, keep: int) -> None:
        self.chosen, self.keep = chosen, keep
        self.query_BD, self.norm_B, self.window, self.sure_B = queries.take(chosen)
        count = len(self.query_BD)
        self.best_BK = torch.full((count, keep), -torch.inf)
        self.rows_BK = torch.full((count, keep), -1, dtype=torch.int64)
        self.pending: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.waiting = 0
        self.above_B = np.zeros(count, np.int64)
        self.at_least_B = np.zeros(count, np.int64)
        self.error_B = np.zeros(count)
        self.let_go_B = np.full(count, -np.inf)  # dots below this may have been let go
        self.has_ceiling = bool((self.window.ceiling_Q < np.inf).any())
        self.has_floor = bool((self.window.floor_Q > -np.inf).any())
        query_E = np.repeat(np.arange(count), self.window.excluded_Q)
        order = np.argsort(self.window.exclude.rows_E, kind="stable")
        self.excluded_E, self.excluder_E = self.window.exclude.rows_E[order], query_E[order]

    @cached_property
    def query_DB(self) -> torch.Tensor:
        """The vectors as the right side of a product with a tile."""
        return torch.from_numpy(np.ascontiguousarray(self.query_BD.T))

    @property
    def floor_B(self) -> np.ndarray:
        """Least score allowed."""
        return self.window.floor_Q

    @property
    def ceiling_B(self) -> np.ndarray:
        """Greatest score allowed."""
        return self.window.ceiling_Q

    def excluded_in(self, tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        """Row of the tile and query of the block of every exclusion that lies in the tile."""
        ends = [tile.first, tile.first + len(tile.rows_TD)]
        here = slice(*np.searchsorted(self.excluded_E, ends))
        return (
            torch.from_numpy(self.excluded_E[here] - tile.first),
            torch.from_numpy(self.excluder_E[here]),
        )

    def bounds(self, tile: Tile) -> Bounds:
        """The window widened for this tile; the block remembers the largest error it met."""
        error_B = score_error_Q(self.norm_B, float(tile.norm_T.max()), tile.rows_TD.shape[1])
        self.error_B = np.maximum(self.error_B, error_B)
        ceiling_B, floor_B = (part.astype(np.float64) for part in (self.ceiling_B, self.floor_B))
        return Bounds(
            error_B,
            up(ceiling_B + error_B),
            float32_below(ceiling_B - error_B),
            float32_below(floor_B - error_B),
            up(floor_B + error_B),
        )

    @property
    def start_B(self) -> np.ndarray:
        """Float32 dots below this are of no interest: the k-th result is surely better."""
        # Not let_go_B's business: a row below scores strictly less than k allowed rows do.
        return self.sure_B - START_ERRORS * self.error_B

    def offer(self, query_M: torch.Tensor, score_M: torch.Tensor, row_M: torch.Tensor) -> None:
        """Rows that may be among the best; they wait until it pays to merge them."""
        self.pending.append((query_M, score_M, row_M))
        self.waiting += len(query_M)
        full = bool((self.best_BK[:, -1] > -torch.inf).all())
        if not full or self.waiting > PENDING * len(self.query_BD):
            self.settle()

    def settle(self) -> None:
        """Merge what waits."""
        if self.waiting:
            parts = (torch.cat(part) for part in zip(*self.pending, strict=True))
            query_M, score_M, row_M = parts
            self.merge(*by_query(query_M, score_M, row_M, len(self.query_BD)))
        self.pending, self.waiting = [], 0

    def merge(self, score_BM: torch.Tensor, row_BM: torch.Tensor) -> None:
        """Keep the best of what is kept and of these."""
        best, order = torch.cat([self.best_BK, score_BM], dim=1).topk(self.keep, dim=1)
        self.best_BK = best
        self.rows_BK = torch.cat([self.rows_BK, row_BM], dim=1).gather(1, order)

    def least_to_keep(self, group_GB: torch.Tensor) -> torch.Tensor:
        """A float32 dot per query under which nothing can be among the `keep` best of what was seen
        with this tile.

        Once `keep` are kept, the worst of them (strictly: a tie with it is no better). Before, the
        keep-th largest among the kept and `group_GB`: each of those stands for another row that
        is in the window and has at least this dot.
        """
        worst_B = self.best_BK[:, -1]
        if bool((worst_B > -torch.inf).all()):
            least_B = torch.nextafter(worst_B, torch.tensor(torch.inf))
        else:
            both = torch.cat([self.best_BK, group_GB.T], dim=1)
            least_B = both.topk(self.keep, dim=1).values[:, -1]
        return torch.maximum(least_B, float32_below(self.start_B))


@dataclass
class Bounds:
    """The window of a block widened by the rounding error of one tile, float32 [B]."""

    error_B: np.ndarray  # float64
    over_B: torch.Tensor  # a float32 dot above this is above the ceiling
    near_B: torch.Tensor  # one below this is below the ceiling
    under_B: torch.Tensor  # one below this is below the floor
    clear_B: torch.Tensor  # one above this is above the floor


def up(bound_B: np.ndarray) -> torch.Tensor:
    """Float32 above the bound: casting may round down.

    >>> up(np.array([0.1])).item() > 0.1
    True
    """
    return torch.from_numpy(np.nextafter(bound_B.astype(np.float32), np.float32(np.inf)))


def float32_below(bound_B: np.ndarray) -> torch.Tensor:
    """Float32 below the bound.

    >>> float32_below(np.array([0.1])).item() < 0.1
    True
    """
    return torch.from_numpy(np.nextafter(bound_B.astype(np.float32), np.float32(-np.inf)))


class Hits(NamedTuple):
    """Runs of rows worth a look: float32 dots [H, W], the query of each, its first row there."""

    score_HW: torch.Tensor
    query_H: np.ndarray
    row_H: np.ndarray


def count(block: Block, tile: Tile, hits: Hits, bounds: Bounds) -> None:
    """Add the hits to the exact counts of rows above the ceiling and at the floor or above."""
    if block.has_ceiling:
        over_H, query_M, exact_M = _near(block, tile, hits, (bounds.near_B, bounds.over_B))
        np.add.at(block.above_B, hits.query_H, over_H)
        np.add.at(block.above_B, query_M, exact_M > block.ceiling_B[query_M])
    if block.has_floor:
        over_H, query_M, exact_M = _near(block, tile, hits, (bounds.under_B, bounds.clear_B))
        np.add.at(block.at_least_B, hits.query_H, over_H)
        np.add.at(block.at_least_B, query_M, exact_M >= block.floor_B[query_M])


def _near(
    block: Block, tile: Tile, hits: Hits, band: tuple[torch.Tensor, torch.Tensor]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many of each hit are clearly over, and the pairs too near to tell with exact scores."""
    score_HW, query_H, row_H = hits
    low_H1, high_H1 = (part[torch.from_numpy(query_H)][:, None] for part in band)
    over_H = np.count_nonzero((score_HW > high_H1).numpy(), axis=1)  # torch sums bools slowly
    touched_H = np.count_nonzero((score_HW >= low_H1).numpy(), axis=1)
    odd = torch.from_numpy(np.flatnonzero(touched_H != over_H))  # few: the band is narrow
    odd_OW = score_HW[odd]
    unclear_OW = (odd_OW >= low_H1[odd]) & (odd_OW <= high_H1[odd]) & (odd_OW > -torch.inf)
    o, w = (part.numpy() for part in unclear_OW.nonzero(as_tuple=True))
    h = odd.numpy()[o]
    exact = tile_scores(block.query_BD, tile.rows_TD, query_H[h], row_H[h] + w)
    return over_H, query_H[h], exact


def keep(block: Block, first: int, hits: Hits, least_B: torch.Tensor, over_B: torch.Tensor) -> None:
    """Merge the hits inside the window into the best kept so far; rows count from `first`."""
    score_HW, query_H, row_H = hits
    query = torch.from_numpy(query_H)
    high_H = torch.minimum(over_B, torch.tensor(torch.finfo().max))[query]
    inside_HW = (score_HW >= least_B[query][:, None]) & (score_HW <= high_H[:, None])
    inside_HW &= score_HW > -torch.inf
    first_H = torch.from_numpy(row_H) + first
    if len(query_H) == len(block.query_BD) and score_HW.shape[1] > GROUP:  # a run for every query
        score_BM = torch.where(inside_HW, score_HW, -torch.inf)
        score_BM, at_BM = score_BM.topk(min(block.keep, score_BM.shape[1]), dim=1)
        block.merge(score_BM, at_BM + first_H[:, None])
    else:
        h, w = inside_HW.nonzero(as_tuple=True)
        block.offer(query[h], score_HW[h, w], first_H[h] + w)


def by_query(
    query_M: torch.Tensor, score_M: torch.Tensor, row_M: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A flat list as one padded row for every query.

    >>> query_M, row_M = torch.tensor([1, 0, 1]), torch.tensor([7, 8, 9])
    >>> by_query(query_M, torch.tensor([0.5, 0.25, 0.75]), row_M, 2)[1]
    tensor([[ 8, -1],
            [ 7,  9]])
    """
    query_M, order = query_M.sort(stable=True)
    per_B = torch.bincount(query_M, minlength=count)
    place_M = torch.arange(len(query_M)) - (per_B.cumsum(0) - per_B)[query_M]
    width = int(per_B.max())
    score_BM = torch.full((count, width), -torch.inf)
    row_BM = torch.full((count, width), -1, dtype=torch.int64)
    score_BM[query_M, place_M] = score_M[order]
    row_BM[query_M, place_M] = row_M[order]
    return score_BM, row_BM


def finish_block(block: Block, corpus_ND: np.ndarray, k: int, result: TopK) -> np.ndarray:
    """Write a block's results and counts; gives the queries that are not certain."""
    block.settle()
    best_BK = block.best_BK.numpy()
    # A row needs an exact score only if it is within rounding of the k-th that is surely allowed.
    doubtful_B = np.count_nonzero(best_BK > (block.ceiling_B - block.error_B)[:, None], axis=1)
    kth_B1 = np.minimum(k - 1 + doubtful_B, block.keep - 1)[:, None]
    kth_B = np.take_along_axis(best_BK, kth_B1, 1)[:, 0].astype(np.float64)
    # Two errors hold all that may be among the best: the k-th's and the row's own. The third lets
    # the certificate hold strictly.
    least_B = np.maximum(best_BK[:, -1], kth_B - 3 * block.error_B)
    worth_BK = (best_BK >= least_B[:, None]) & (best_BK > -np.inf)
    rows_BK = np.where(worth_BK, block.rows_BK.numpy(), -1)
    # Dots may be too low by the error, so what was dropped scores at most this.
    unseen_B = np.maximum(least_B, block.let_go_B) + block.error_B
    done = finish(block.query_BD, corpus_ND, rows_BK, unseen_B, k=k, window=block.window)
    chosen = block.chosen
    result.scores_Qk[chosen], result.rows_Qk[chosen] = done.scores_Qk, done.rows_Qk
    result.above_Q[chosen] = block.above_B
    open_B = len(corpus_ND) - block.window.excluded_Q
    # Without a floor nothing was counted at it, and every open row is at or above it.
    at_least_B = np.where(block.floor_B > -np.inf, block.at_least_B, open_B)
    result.below_Q[chosen] = open_B - np.maximum(block.above_B, at_least_B)
    again: np.ndarray = chosen[~done.certain_Q]
    return again
