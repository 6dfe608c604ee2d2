"""A pass of a block of queries over the corpus on a GPU: what is found, and the bounds it rests on.

Shape suffixes: Q queries, B queries of a block padded to the tile, N corpus rows, S rows of a slab,
D dimensions, k results per query, C kept candidates, F found rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from whet_kernels.topk.exact import LARGEST_SCORE, VectorError, slices
from whet_kernels.topk.gpu.band_kernel import WORD, Counts, Rounded, band_words
from whet_kernels.topk.gpu.edges import Edges
from whet_kernels.topk.gpu.exact import (
    CandidateRows,
    DeviceLimits,
    SlabHits,
    admit_rows,
    score_rows,
)
from whet_kernels.topk.gpu.rounding import list_rows, room_for_rounded, round_rows
from whet_kernels.topk.gpu.scan import NONE, order_keys
from whet_kernels.topk.gpu.slabs import DeviceVectors, Slab, float_type, rows_on, slabs_of
from whet_kernels.topk.window import Window

SLAB_BYTES = 56 << 20  # of a slab in the first pass's format, and of its copies where streamed
BLOCK_BYTES = 104 << 20  # of everything that grows with the queries of a block, their vectors apart
QUERY_BYTES = 40 << 20  # of their vectors in float32 and in the first pass's format
SORTED = 1 << 19  # candidates sorted at a time: 25 MB


@dataclass(frozen=True)
class GpuTiling:
    """How the work is cut; results do not depend on it."""

    queries: int  # of a block
    rows: int  # of a slab
    hits: int  # room for the rows a slab gives a query
    kept: int  # room for a query's candidates, at least k
    sample: int  # rows that make the first bound

    @classmethod
    def of(cls, k: int, corpus_ND: DeviceVectors, *, streamed: bool) -> GpuTiling:
        """At most 200 MiB in all, for any number of queries and rows."""
        rows, dimension = corpus_ND.shape
        wide = max(64, dimension)
        copies = 2 * float_type(corpus_ND).itemsize if streamed else 0
        slab = _power_of_two(max(512, min(16384, SLAB_BYTES // (wide * (2 + copies)))))
        slab = min(slab, _power_of_two(rows) * 2 if rows else 1)
        hits = min(slab, 2 * _power_of_two(2 * k + 64))
        kept = k + hits
        each = slab // WORD * 4 + hits * 8 + kept * 12 + k * 28 + 256
        block = max(256, min(BLOCK_BYTES // each, QUERY_BYTES // (6 * wide), 16384))
        return cls(block // 256 * 256, slab, hits, kept, max(16384, 64 * k))


def _power_of_two(number: int) -> int:
    """The largest power of two up to a number."""
    return 1 << (max(1, number).bit_length() - 1)


class GpuSearch(NamedTuple):
    """What was asked for."""

    query_QD: DeviceVectors
    corpus_ND: DeviceVectors
    k: int
    window: Window
    gear: str
    cut: GpuTiling
    device: torch.device
    exact_counts: bool

    def slabs(self, step: int = 1) -> Iterator[Slab]:
        """Every `step`-th row of the corpus, a slab at a time."""
        return slabs_of(self.corpus_ND, self.cut.rows, self.device, step)


class GpuBlock:
    """Some queries, on the device, with their window."""

    def __init__(self, job: GpuSearch, chosen: np.ndarray, window: Window) -> None:
        self.job, self.chosen, self.window = job, chosen, window
        self.count = len(chosen)
        # Neighbours are a slice of the queries, which is a view; an index copies them.
        every = slice(int(chosen[0]), int(chosen[-1]) + 1)
        rows = every if len(chosen) == every.stop - every.start else chosen
        self.query_BD = rows_on(job.query_QD, rows, job.device).float().contiguous()
        room = room_for_rounded(self.count, self.query_BD.shape[1], job.gear, job.device)
        self.rounded = round_rows(self.query_BD, job.gear, room)
        self.padded = len(room.low_SP)
        self.limits = DeviceLimits(
            # Padded queries have an empty window: no row is kept for them.
            self.pad(torch.from_numpy(window.ceiling_Q), -torch.inf),
            self.pad(torch.from_numpy(window.floor_Q), torch.inf),
            torch.from_numpy(window.exclude.offsets_Q1).to(job.device),
            torch.from_numpy(window.exclude.rows_E).to(job.device),
            int(window.excluded_Q.max(initial=0)),
        )
        self.has_ceiling = bool((window.ceiling_Q < np.inf).any())
        self.has_floor = bool((window.floor_Q > -np.inf).any())
        self.edges = Edges(self.rounded, self.limits, self.query_BD.shape[1])

    @classmethod
    def of(cls, job: GpuSearch, chosen: np.ndarray) -> GpuBlock:
        """Queries by their place among all, with their part of the window."""
        return cls(job, chosen, job.window.take(chosen))

    def pad(self, value_B: torch.Tensor, fill: float) -> torch.Tensor:
        """On the device, and as long as the padded queries."""
        value_B = value_B.to(self.job.device)
        return torch.nn.functional.pad(value_B, (0, self.padded - self.count), value=fill)


class PassResult(NamedTuple):
    """What a pass found, in host memory."""

    scores_Bk: torch.Tensor  # float32, NaN where there are fewer
    rows_Bk: torch.Tensor  # int64, -1 there
    last_B: torch.Tensor  # the k-th score, -inf where there are fewer
    certain_B: torch.Tensor  # no row was lost, none dropped that could be better than the k-th
    lost_B: torch.Tensor  # rows were found for which there was no room
    above_B: torch.Tensor  # rows above the ceiling, excluded or not; right where nothing was lost
    floor_B: torch.Tensor  # products clearly above the floor
    near_B: torch.Tensor  # products within the error of it


class Pass:
    """A block of queries on its way through the corpus: what it has found, and its bounds."""

    def __init__(self, block: GpuBlock, low_B: torch.Tensor, k: int) -> None:
        job, cut, device = block.job, block.job.cut, block.job.device
        count, room = block.count, min(cut.hits, cut.rows)
        self.block, self.k, self.low_B = block, k, block.pad(low_B, -torch.inf)
        self.slab = room_for_rounded(cut.rows, block.query_BD.shape[1], job.gear, device)
        self.hits = SlabHits(
            torch.empty(count, room, dtype=torch.int32, device=device),
            torch.empty(count, room, device=device),
            torch.empty(count, dtype=torch.int32, device=device),
        )
        self.kept = CandidateRows(
            torch.zeros(count, cut.kept, dtype=torch.int64, device=device),
            torch.zeros(count, cut.kept, device=device),
            *torch.zeros(3, count, dtype=torch.int32, device=device),
        )
        self.counts = Counts.zeros(block.padded, device, with_floor=block.has_floor)
        slabs = -(-len(job.corpus_ND) // cut.rows)
        self.largest_N2 = torch.zeros(slabs, 2, dtype=torch.float64, device=device)

    def run(self) -> PassResult:
        """See every row; the kept are cut to the best whenever the rows seen have doubled, after
        which about k more are to be expected.
        """
        for number, slab in enumerate(self.block.job.slabs(), 1):
            self._see(slab, self.slab._replace(largest_2=self.largest_N2[number - 1]))
            if number & (number - 1) == 0:
                self._keep_best()
        self._keep_best()
        self._check()
        return self._outcome()

    def _see(self, slab: Slab, room: Rounded) -> None:
        block = self.block
        rows = round_rows(slab.vector_SD, block.job.gear, room)
        band = block.edges.update(rows, self.low_B)
        counts = self.counts if block.has_ceiling or block.has_floor else None
        word_BW = band_words(block.rounded, rows, len(slab.vector_SD), band, counts)
        list_rows(word_BW, self.hits.row_BF, self.hits.count_B)
        score_rows(block.query_BD, slab.vector_SD, self.hits)
        admit_rows(self.hits, slab.first, self.low_B, block.limits, self.kept)

    def _check(self) -> None:
        """Refuse vectors that no exact score can be made from."""
        query_B = self.block.rounded.norm_S[: self.block.count]
        bad_B = (~query_B.isfinite()).nonzero()
        if len(bad_B):
            query = int(self.block.chosen[int(bad_B[0])])
            raise VectorError("query", query, "the vector holds NaN or infinity")
        norm_N = self.largest_N2[:, 0].cpu()
        norm = float(norm_N.max()) if len(norm_N) else 0.0
        if norm * float(query_B.max()) <= LARGEST_SCORE:
            return
        row = self._first_of_norm(norm, int(norm_N.argmax()))
        if norm == float("inf"):
            raise VectorError("corpus", row, "the vector holds NaN or infinity")
        raise VectorError("corpus", row, f"norm {norm:.3g} overflows a float32 score")

    def _first_of_norm(self, norm: float, number: int) -> int:
        """The first row of a norm, infinity for what is not finite, in a slab by its number."""
        slab = next(islice(self.block.job.slabs(), number, None))
        rows = round_rows(slab.vector_SD, self.block.job.gear, self.slab)
        norm_S = rows.norm_S[: len(slab.vector_SD)].nan_to_num(torch.inf, posinf=torch.inf)
        return slab.first + int((norm_S == norm).int().argmax())

    def _keep_best(self) -> None:
        """Cut the kept to the k best, best first; the worst of k lifts the bound."""
        self.kept.lost_B.logical_or_(self.kept.count_B > self.kept.row_BC.shape[1])
        for part in slices(self.block.count, max(1, SORTED // self.kept.row_BC.shape[1])):
            row_BC, score_BC, count_B = (held[part] for held in self.kept[:3])
            there_BC = torch.arange(row_BC.shape[1], device=row_BC.device) < count_B[:, None]
            key_BC = torch.where(there_BC, order_keys(score_BC, row_BC), NONE)
            best_Bk = key_BC.topk(self.k, dim=1).indices
            row_BC[:, : self.k] = row_BC.gather(1, best_Bk)
            score_BC[:, : self.k] = score_BC.gather(1, best_Bk)
        self.kept.count_B.clamp_(max=self.k)
        self.low_B = torch.maximum(self.low_B, self.block.pad(self.last_B(), -torch.inf))

    def last_B(self) -> torch.Tensor:
        """The k-th result's score of what has been cut to the best, -inf where there are fewer."""
        return torch.where(
            self.kept.count_B >= self.k, self.kept.score_BC[:, self.k - 1], -torch.inf
        )

    def _outcome(self) -> PassResult:
        there_Bk = torch.arange(self.k, device=self.low_B.device) < self.kept.count_B[:, None]
        last_B = self.last_B()
        # What scores under the bound was dropped unseen: a k-th under it may not be the k-th.
        # No band holds what overflows the first pass's format: its error is infinite.
        error_B = self.block.rounded.error_S[: self.block.count] + self.largest_N2[:, 1].sum()
        lost_B = (self.kept.lost_B > 0) | ~error_B.isfinite()
        certain_B = ~lost_B & (last_B >= self.low_B[: self.block.count])
        above_B, floor_B, near_B = (each[: self.block.count] for each in self.counts[:3])
        outcome = PassResult(
            torch.where(there_Bk, self.kept.score_BC[:, : self.k], torch.nan),
            torch.where(there_Bk, self.kept.row_BC[:, : self.k], -1),
            last_B,
            certain_B,
            lost_B,
            above_B.long() + self.kept.above_B,
            floor_B.long(),
            near_B.long(),
        )
        return PassResult(*(each.cpu() for each in outcome))
