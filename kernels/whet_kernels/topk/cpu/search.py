"""`mine_topk` on a CPU: tiles of products, most of each discarded by one maximum over some rows.

First pass: for a tile of corpus rows and a block of queries, one matrix product, in float32 or in
int8 (int8.py); the window is widened by the proved error of that product; a query keeps its
k + slack best, and a group of 8 rows whose maximum lies under the worst kept is never looked at
again. Rows near a threshold are scored exactly on the spot, so the counts are exact. Then `finish`
scores the kept exactly. A query it cannot certify (its k-th result ties with what was discarded)
goes through a second scan, which scores every row near its k-th exactly and needs no certificate.

Nothing of size Q x N exists; memory is inputs + O(Q (k + slack)) + a tile.

Shape suffixes: Q queries, N corpus rows, D dimensions, T rows of a tile, G groups of rows, B
queries of a block, K kept per query, H hit groups, W rows per group, M pairs, C hints per query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from whet_kernels.topk.cpu.block import (
    GROUP,
    Block,
    Hits,
    Queries,
    Tile,
    Tiling,
    by_query,
    count,
    finish_block,
    float32_below,
    keep,
    tiles,
)
from whet_kernels.topk.cpu.int8 import SCALED_ROWS, Int8Block, Int8Tile, suits_int8
from whet_kernels.topk.exact import check_range, norms, slices, tile_scores
from whet_kernels.topk.window import TopK, Window, best_first, empty_result, reached_by_hints

DENSE_SHARE = (
    0.25  # of groups hit: above this, gathering them costs more than a plain top-k of the tile
)
SCAN_QUERIES = 64


def mine_topk_tiled(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    k: int,
    window: Window,
    *,
    tiling: Tiling | None = None,
    int8: bool = False,
    hint_QC: np.ndarray | None = None,
    seen: Callable[[int], object] = int,
    rescanned: Callable[[int], object] = int,
) -> TopK:
    """Exact top-k in bounded memory; the same result, to the bit, as `mine_topk_reference`.

    `int8` lets the queries it suits go through the int8 first pass. `hint_QC` (int64, -1 for none)
    are rows that may be among the results, the last refresh's say: their scores are where the
    search starts, so good ones make it faster and bad ones change nothing. `seen(rows)` is called
    as rows of the corpus are done, `rescanned(queries)` with how many queries go through a second
    scan.
    """
    tiling = tiling or Tiling.of(len(query_QD), query_QD.shape[1], k)
    query_QD = np.ascontiguousarray(query_QD, np.float32)
    norm_Q = norms(query_QD, side="query")
    sure_Q = reached_by_hints(query_QD, corpus_ND, k, window, hint_QC)
    queries = Queries(query_QD, norm_Q, window, sure_Q)
    result = empty_result(len(query_QD), k, window)
    if not len(query_QD) or not len(corpus_ND):
        return result
    with full_float32():
        blocks = _first_pass(queries, corpus_ND, k, tiling, int8=int8, seen=seen)
        again = np.concatenate([finish_block(block, corpus_ND, k, result) for block in blocks])
        rescanned(len(again))
        for part in slices(len(again), SCAN_QUERIES):
            _scan(queries, corpus_ND, again[part], tiling, result)
    return result


@contextmanager
def full_float32() -> Iterator[None]:
    """No tf32 or bf16 inside a float32 product, whatever training has set: the error bound is
    float32's.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _first_pass(
    queries: Queries,
    corpus_ND: np.ndarray,
    k: int,
    tiling: Tiling,
    *,
    int8: bool,
    seen: Callable[[int], object],
) -> list[Block]:
    """Every block sees every tile; each query keeps its k + slack best (or all there are)."""
    wanted = min(k + tiling.slack, len(corpus_ND))
    fast_Q = np.zeros(len(queries.query_QD), bool)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        if int8:
            # int8 pays only where few rows are within its wider error of the ceiling; a sample
            # tells which queries those are. What it learns about the k-th result helps the others,
            # too.
            fast_Q, sure_Q = suits_int8(queries, corpus_ND, k, pool)
            queries = queries._replace(sure_Q=np.maximum(queries.sure_Q, sure_Q))

        def blocks_of(chosen: np.ndarray) -> list[Block]:
            parts = slices(len(chosen), tiling.queries)
            return [Block(queries, chosen[span], wanted) for span in parts]

        exact, fast = blocks_of(np.flatnonzero(~fast_Q)), blocks_of(np.flatnonzero(fast_Q))
        fast_blocks = [Int8Block(block, k, pool) for block in fast]
        # One buffer for all products, as high as a tile padded to whole groups that share a scale.
        height = -(-min(tiling.rows, len(corpus_ND)) // SCALED_ROWS) * SCALED_ROWS
        space = torch.empty(height * max(len(block.chosen) for block in exact + fast))
        for tile in tiles(corpus_ND, tiling.rows):
            # Tiles are outside and blocks inside: each corpus row is read once, however many
            # queries.
            check_range(queries.norm_Q, tile.norm_T, tile.first)
            for block in exact:
                _see(block, tile, space)
            if fast:
                small = Int8Tile.of(tile, pool)
                for fast_block in fast_blocks:
                    fast_block.see(tile, small, space)
            seen(len(tile.rows_TD))
        for fast_block in fast_blocks:
            # What the int8 sifting kept goes to the float32 blocks, which `finish_block` reads.
            fast_block.settle()
    return exact + fast


def _score(block: Block, tile: Tile, score_TB: torch.Tensor) -> None:
    """Float32 dots of the tile; -inf for excluded rows and past the tile's end."""
    height = len(tile.rows_TD)
    torch.mm(torch.from_numpy(tile.rows_TD), block.query_DB, out=score_TB[:height])
    score_TB[height:] = -torch.inf
    score_TB[block.excluded_in(tile)] = -torch.inf


def _see(block: Block, tile: Tile, space: torch.Tensor) -> None:
    """Let a block look at one tile: count, and keep what may be among its best."""
    bounds = block.bounds(tile)
    # Padded to whole groups; `_score` fills the rest with -inf, as it does excluded rows.
    shape = (-(-len(tile.rows_TD) // GROUP) * GROUP, len(block.chosen))
    score_TB = space[: shape[0] * shape[1]].view(shape)
    _score(block, tile, score_TB)
    groups_GWB = score_TB.view(-1, GROUP, score_TB.shape[1])
    max_GB = groups_GWB.amax(1)
    # A group whose maximum is over the ceiling may hold nothing allowed, so it vouches for no row.
    inside_GB = torch.where(max_GB <= bounds.over_B, max_GB, -torch.inf)
    least_B = torch.maximum(block.least_to_keep(inside_GB), bounds.under_B)
    # Rows near or over the ceiling are looked into even if they are not among the best: they must
    # be counted. So must all at the floor or above, where there is a floor.
    trigger_B = torch.minimum(least_B, bounds.near_B)
    if block.has_floor:
        floor_B = torch.where(bounds.under_B > -torch.inf, bounds.under_B, torch.inf)
        trigger_B = torch.minimum(trigger_B, floor_B)
    hit = np.flatnonzero((max_GB >= trigger_B).numpy())
    # Many hits, as in the first tiles: the whole tile as one run a query is cheaper than gathering.
    if len(hit) > DENSE_SHARE * max_GB.numel():
        score_HW = score_TB.T.contiguous()
        query_H, row_H = np.arange(len(score_HW)), np.zeros(len(score_HW), np.int64)
    else:
        group_H, query_H = np.divmod(hit, score_TB.shape[1])
        score_HW = groups_GWB[torch.from_numpy(group_H), :, torch.from_numpy(query_H)]
        row_H = group_H * GROUP
    hits = Hits(score_HW, query_H, row_H)
    count(block, tile, hits, bounds)
    keep(block, tile.first, hits, least_B, bounds.over_B)


def _scan(
    queries: Queries, corpus_ND: np.ndarray, chosen: np.ndarray, tiling: Tiling, result: TopK
) -> None:
    """Find the k best of the chosen, exactly scoring every row that could be among them."""
    block = Block(queries, chosen, 1)
    scores_Bk, rows_Bk = result.scores_Qk[chosen], result.rows_Qk[chosen]
    # What the first pass found is a true lower bound of the k-th score. The rows themselves are
    # dropped: the scan meets them again, and none may be listed twice.
    least_B = np.nan_to_num(scores_Bk[:, -1].astype(np.float64), nan=-np.inf)
    scores_Bk[:], rows_Bk[:] = np.nan, -1
    for tile in tiles(corpus_ND, tiling.rows):
        bounds = block.bounds(tile)
        score_TB = torch.empty(len(tile.rows_TD), len(chosen))
        _score(block, tile, score_TB)
        # Wider by the proved error, so no row that ties with the k-th is missed.
        low_B = torch.maximum(float32_below(least_B - bounds.error_B), bounds.under_B)
        maybe_TB = (score_TB >= low_B) & (score_TB <= bounds.over_B) & (score_TB > -torch.inf)
        row_M, query_M = (part.numpy() for part in maybe_TB.nonzero(as_tuple=True))
        exact_M = tile_scores(block.query_BD, tile.rows_TD, query_M, row_M)
        hits = (query_M, exact_M, row_M + tile.first)
        scores_Bk, rows_Bk = _merge(scores_Bk, rows_Bk, hits, block)
        worst_B = np.nan_to_num(scores_Bk[:, -1].astype(np.float64), nan=-np.inf)
        least_B = np.maximum(least_B, worst_B)
    result.scores_Qk[chosen], result.rows_Qk[chosen] = scores_Bk, rows_Bk


def _merge(
    scores_Bk: np.ndarray,
    rows_Bk: np.ndarray,
    hits: tuple[np.ndarray, np.ndarray, np.ndarray],
    block: Block,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best, exactly ordered, of those held and those found in the window."""
    query_M, exact_M, row_M = hits
    keep_M = (exact_M >= block.floor_B[query_M]) & (exact_M <= block.ceiling_B[query_M])
    score_BM, row_BM = by_query(
        torch.from_numpy(query_M[keep_M]),
        torch.from_numpy(exact_M[keep_M]),
        torch.from_numpy(row_M[keep_M]),
        len(scores_Bk),
    )
    scores = np.concatenate([scores_Bk, score_BM.numpy()], axis=1)
    rows = np.concatenate([rows_Bk, row_BM.numpy()], axis=1)
    return best_first(np.nan_to_num(scores, nan=-np.inf), rows, rows >= 0, scores_Bk.shape[1])
