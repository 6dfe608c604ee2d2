"""The last resort of the search on a GPU: float64 products of a few queries with everything.

A float64 product is so near the exact score that hardly a row is in doubt; each that is gets its
exact score. It needs no room that could run out, so it answers for queries that have too many rows
too near their k-th, or vectors whose range no low format holds.

Shape suffixes: B queries, T rows of a tile, N corpus rows, D dimensions, M pairs, k results per
query, E exclusions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from whet_kernels.topk.exact import FLOAT32_ROUNDING, FLOAT32_UNDERFLOW, slices
from whet_kernels.topk.gpu.exact import pair_scores_torch
from whet_kernels.topk.gpu.slabs import DeviceVectors, slabs_of
from whet_kernels.topk.window import Window

SCAN_QUERIES = 256  # at a time: 8 MiB a float64 array of their scores, some of which are alive
TILE_NUMBERS = 1 << 21  # float64 numbers of a tile of rows: 16 MiB
NONE = torch.iinfo(torch.int64).min


class Scanned(NamedTuple):
    """Results of some queries, as in TopK, and how many rows score `floor` or more."""

    scores_Bk: torch.Tensor
    rows_Bk: torch.Tensor
    above_B: torch.Tensor
    at_least_B: torch.Tensor


def order_keys(score_BC: torch.Tensor, row_BC: torch.Tensor) -> torch.Tensor:
    """Distinct int64 keys that are larger for a better result: higher score, then lower row.

    The bits of a float32, the magnitude inverted where it is negative, are ordered as the numbers
    are; adding 0.0 makes one zero of the two.

    >>> keys = order_keys(torch.tensor([[0.5, 0.5, -0.5]]), torch.tensor([[3, 2, 0]]))
    >>> keys.argsort(descending=True)
    tensor([[1, 0, 2]])
    """
    bits_BC = (score_BC + 0.0).view(torch.int32)
    ordered_BC = bits_BC ^ ((bits_BC >> 31) & 0x7FFFFFFF)
    return (ordered_BC.long() << 32) | (0xFFFFFFFF - row_BC)


def exact_scan(
    query_BD: torch.Tensor, corpus_ND: DeviceVectors, k: int, window: Window, low_B: torch.Tensor
) -> Iterator[tuple[slice, Scanned]]:
    """Exact results of a few queries at a time: which, and what.

    `low_B` are float32 lower bounds of the k-th results, -inf where none is known.
    """
    for span in slices(len(query_BD), SCAN_QUERIES):
        part = window.take(np.arange(span.start, span.stop))
        yield span, _Scan(query_BD[span], part, k, low_B[span]).run(corpus_ND)


class _Scan:
    """A few queries on their way through the corpus."""

    def __init__(self, query_BD: torch.Tensor, window: Window, k: int, low_B: torch.Tensor) -> None:
        device, count = query_BD.device, len(query_BD)
        self.query_BD, self.k, self.least_B = query_BD, k, low_B.double()
        self.ceiling_B = torch.from_numpy(window.ceiling_Q).to(device)
        self.floor_B = torch.from_numpy(window.floor_Q).to(device)
        order = np.argsort(window.exclude.rows_E, kind="stable")
        self.excluded_E = window.exclude.rows_E[order]
        self.excluder_E = np.repeat(np.arange(count), window.excluded_Q)[order]
        self.key_Bk = torch.full((count, k), NONE, device=device)
        self.scores_Bk = torch.full((count, k), torch.nan, device=device)
        self.rows_Bk = torch.full((count, k), -1, dtype=torch.int64, device=device)
        self.above_B, self.at_least_B = torch.zeros(2, count, dtype=torch.int64, device=device)

    def run(self, corpus_ND: DeviceVectors) -> Scanned:
        """See every row."""
        rows = max(1, min(4096, TILE_NUMBERS // max(1, corpus_ND.shape[1])))
        for first, tile_TD in slabs_of(corpus_ND, rows, self.query_BD.device):
            self._see(first, tile_TD)
        return Scanned(self.scores_Bk, self.rows_Bk, self.above_B, self.at_least_B)

    def _see(self, first: int, tile_TD: torch.Tensor) -> None:
        score_BT = self.query_BD.double() @ tile_TD.double().T
        open_BT = self._open(first, score_BT)
        error_B1 = self._error_B(tile_TD)[:, None]
        ceiling_B1, floor_B1 = (part.double()[:, None] for part in (self.ceiling_B, self.floor_B))
        # Rows near a threshold are scored exactly whatever their rank: the counts must be exact,
        # too.
        near_BT = (score_BT - ceiling_B1).abs() <= error_B1
        near_BT |= (score_BT - floor_B1).abs() <= error_B1
        wanted_BT = (score_BT >= self.least_B[:, None] - error_B1) & (score_BT <= ceiling_B1)
        wanted_BT &= score_BT >= floor_B1
        query_M, at_M = (open_BT & (near_BT | wanted_BT)).nonzero(as_tuple=True)
        # what is not in doubt may keep its float64 score: it falls on the same side
        exact_BT = score_BT.clone()
        exact_BT[query_M, at_M] = self._exact(tile_TD, query_M, at_M).double()
        above_BT = open_BT & (exact_BT > ceiling_B1)
        at_least_BT = open_BT & (exact_BT >= floor_B1)
        self.above_B += above_BT.sum(1)
        self.at_least_B += at_least_BT.sum(1)
        keep_BT = at_least_BT & ~above_BT & (near_BT | wanted_BT)
        self._merge(first, exact_BT.float(), keep_BT)

    def _open(self, first: int, score_BT: torch.Tensor) -> torch.Tensor:
        """Which rows of the tile are not excluded."""
        here = slice(*np.searchsorted(self.excluded_E, [first, first + score_BT.shape[1]]))
        open_BT = torch.ones_like(score_BT, dtype=torch.bool)
        query_E = torch.from_numpy(self.excluder_E[here]).to(score_BT.device)
        row_E = torch.from_numpy(self.excluded_E[here] - first).to(score_BT.device)
        open_BT[query_E, row_E] = False
        return open_BT

    def _error_B(self, tile_TD: torch.Tensor) -> torch.Tensor:
        """Bound of |float64 product - exact score|: the latter's rounding to float32, and 2^-24
        again for both sums (D * 2^-52 each), below the normal range 2^-125.
        """
        largest = torch.linalg.vector_norm(tile_TD.double(), dim=1).max()
        norm_B = torch.linalg.vector_norm(self.query_BD.double(), dim=1)
        error_B: torch.Tensor = 2 * FLOAT32_ROUNDING * norm_B * largest + FLOAT32_UNDERFLOW
        return error_B

    def _exact(
        self, tile_TD: torch.Tensor, query_M: torch.Tensor, at_M: torch.Tensor
    ) -> torch.Tensor:
        step = max(1, TILE_NUMBERS // max(1, tile_TD.shape[1]))
        chunks = slices(len(query_M), step)
        parts = [pair_scores_torch(self.query_BD[query_M[m]], tile_TD[at_M[m]]) for m in chunks]
        return torch.cat([*parts, torch.empty(0, device=tile_TD.device)])

    def _merge(self, first: int, score_BT: torch.Tensor, keep_BT: torch.Tensor) -> None:
        """The k best of those held and those of the tile that are kept."""
        row_BT = torch.arange(first, first + score_BT.shape[1], device=score_BT.device)
        row_BT = row_BT.expand_as(score_BT)
        # One integer key for score and row: topk alone breaks ties as it likes, not by the lower
        # row.
        key_BT = torch.where(keep_BT, order_keys(score_BT, row_BT), NONE)
        self.key_Bk, best_Bk = torch.cat([self.key_Bk, key_BT], 1).topk(self.k, dim=1)
        held_Bk = self.key_Bk > NONE
        scores_Bk = torch.cat([self.scores_Bk, score_BT], 1).gather(1, best_Bk)
        rows_Bk = torch.cat([self.rows_Bk, row_BT], 1).gather(1, best_Bk)
        self.scores_Bk = torch.where(held_Bk, scores_Bk, torch.nan)
        self.rows_Bk = torch.where(held_Bk, rows_Bk, -1)
        worst_B = torch.where(held_Bk[:, -1], self.scores_Bk[:, -1], -torch.inf)
        self.least_B = torch.maximum(self.least_B, worst_B.double())
