"""Exact scores on a device, and the admission of rows by window and exclusions.

The exact score folds halves as `fold_sum` does. The kernel spreads the D products over a power of
two of places so that each fold is one of equal halves (`fold_places`). A place without a product
holds -0.0, which changes no sum, not even one of -0.0. Products of float32 are exact in float64, so
that a fused multiply-add cannot change a bit either.

Shape suffixes: B queries of a block, S rows of a slab, F rows found per query, C candidates kept
per query, M pairs, D dimensions, J places of the fold, E exclusions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl

from whet_kernels.topk.gpu.band_kernel import INTERPRET

TERMS = 1 << 16 if INTERPRET else 1 << 12  # float64 products a program holds


def pair_scores_torch(query_MD: torch.Tensor, row_MD: torch.Tensor) -> torch.Tensor:
    """`topk.exact.pair_scores` of paired vectors on their device, float32 [M]: the kernel's twin.

    >>> pair_scores_torch(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([11.])
    """
    terms_MD = query_MD.double() * row_MD.double()
    width = terms_MD.shape[1]
    if width == 0:
        return torch.zeros(len(terms_MD), device=terms_MD.device)
    while width > 1:
        half = (width + 1) // 2
        terms_MD[:, : width - half] += terms_MD[:, half:width]
        width = half
    return terms_MD[:, 0].float()


@lru_cache(maxsize=8)
def fold_places(dimension: int) -> np.ndarray:
    """Which product each place of the fold holds, int32 [J], -1 for none.

    Read from its highest bit, a place says at every fold whether its product is in the lower or the
    upper half.

    >>> fold_places(3).tolist()  # (0 + 2) + 1
    [0, 1, 2, -1]
    """
    widths = [dimension]
    while widths[-1] > 1:
        widths.append((widths[-1] + 1) // 2)
    place_J, size_J = np.zeros(1, np.int64), np.ones(1, bool)
    for width, half in zip(widths[-2::-1], widths[:0:-1], strict=True):
        place_J = np.concatenate([place_J, place_J + half])
        size_J = np.concatenate([size_J, size_J & (place_J[len(size_J) :] < width)])
    return np.where(size_J, place_J, -1).astype(np.int32)


@lru_cache(maxsize=8)
def _places_on(dimension: int, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(fold_places(dimension)).to(device)


@triton.jit
def _plus(a, b):
    return a + b


@triton.jit
def _halved(terms_MJ, PAIRS: tl.constexpr, HALF: tl.constexpr, SPLIT: tl.constexpr):
    """The upper half of the places added to the lower."""
    halves_M2H = tl.reshape(terms_MJ, (PAIRS, 2, HALF))
    if SPLIT:  # numpy's sum, which interprets a reduction, makes 0.0 of two -0.0
        lower_MH, upper_MH = tl.split(tl.permute(halves_M2H, (0, 2, 1)))
        sum_MH = lower_MH + upper_MH
    else:
        sum_MH = tl.reduce(halves_M2H, 1, _plus)
    return sum_MH


@triton.jit
def _score_rows(
    query_ptr,
    slab_ptr,
    place_ptr,
    row_ptr,
    count_ptr,
    score_ptr,
    SLAB_STRIDE,
    ROOM,
    D,
    FOLDS: tl.constexpr,
    PAIRS: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """Exact scores of the rows found for one query, some at a time."""
    query = tl.program_id(0).to(tl.int64)
    count = tl.minimum(tl.load(count_ptr + query), ROOM)
    J: tl.constexpr = 1 << FOLDS
    place_J = tl.load(place_ptr + tl.arange(0, J))
    there_J = place_J >= 0
    query_J = tl.load(query_ptr + query * D + place_J, there_J, 0.0).to(tl.float64)
    for start in range(0, count, PAIRS):
        at_M = start + tl.arange(0, PAIRS)
        row_M = tl.load(row_ptr + query * ROOM + at_M, at_M < count, 0).to(tl.int64)
        there_MJ = (at_M < count)[:, None] & there_J[None, :]
        at_MJ = row_M[:, None] * SLAB_STRIDE + place_J[None, :]
        # 0.0 times -1.0 where there is no product: Triton makes 0.0 of a literal -0.0
        row_MJ = tl.load(slab_ptr + at_MJ, there_MJ, -1.0).to(tl.float64)
        terms_MJ = row_MJ * query_J[None, :]
        for fold in tl.static_range(FOLDS):
            terms_MJ = _halved(terms_MJ, PAIRS, J >> (fold + 1), SPLIT)
        score_M = tl.reshape(terms_MJ, (PAIRS,)).to(tl.float32)
        tl.store(score_ptr + query * ROOM + at_M, score_M, at_M < count)


class SlabHits(NamedTuple):
    """What a slab gave each query: rows counted from the slab's first, int32, and exact scores."""

    row_BF: torch.Tensor
    score_BF: torch.Tensor
    count_B: torch.Tensor  # int32; more than there is room for, where the room ended


def score_rows(query_BD: torch.Tensor, slab_SD: torch.Tensor, hits: SlabHits) -> None:
    """Exact scores of each query's hits, float32, into them."""
    row_BF, score_BF, count_B = hits
    place_J = _places_on(query_BD.shape[1], query_BD.device)
    pairs = min(max(1, TERMS // len(place_J)), triton.next_power_of_2(row_BF.shape[1]))
    _score_rows[(len(row_BF),)](
        query_BD,
        slab_SD,
        place_J,
        row_BF,
        count_B,
        score_BF,
        slab_SD.stride(0),
        row_BF.shape[1],
        query_BD.shape[1],
        FOLDS=len(place_J).bit_length() - 1,
        PAIRS=pairs,
        SPLIT=INTERPRET,
    )


@triton.jit
def _is_excluded(excluded_ptr, first, last, row_F, STEPS: tl.constexpr):
    """Whether rows stand in a sorted list: the place of each by halving."""
    low_F = tl.zeros_like(row_F) + first
    high_F = tl.zeros_like(row_F) + last
    for _ in range(STEPS):
        middle_F = (low_F + high_F) // 2
        less_F = tl.load(excluded_ptr + middle_F, middle_F < high_F, 0) < row_F
        low_F = tl.where(less_F & (middle_F < high_F), middle_F + 1, low_F)
        high_F = tl.where(less_F, high_F, middle_F)
    return tl.load(excluded_ptr + low_F, low_F < last, -1) == row_F


@triton.jit
def _admit_rows(
    row_ptr,
    score_ptr,
    found_ptr,
    low_ptr,
    ceiling_ptr,
    floor_ptr,
    offset_ptr,
    excluded_ptr,
    kept_row_ptr,
    kept_score_ptr,
    kept_ptr,
    above_ptr,
    lost_ptr,
    FIRST,
    FOUND_ROOM,
    KEPT_ROOM,
    STEPS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Append one query's admissible rows to those it keeps, and count those above the ceiling."""
    query = tl.program_id(0).to(tl.int64)
    # The count goes on where the room ended (the query is then lost); rows beyond it do not exist.
    found = tl.load(found_ptr + query)
    hits = tl.minimum(found, FOUND_ROOM)
    kept = tl.load(kept_ptr + query)
    above = tl.load(above_ptr + query)
    ceiling = tl.load(ceiling_ptr + query)
    least = tl.maximum(tl.load(floor_ptr + query), tl.load(low_ptr + query))
    for start in range(0, hits, CHUNK):
        at_F = start + tl.arange(0, CHUNK)
        there_F = at_F < hits
        score_F = tl.load(score_ptr + query * FOUND_ROOM + at_F, there_F, 0.0)
        row_F = tl.load(row_ptr + query * FOUND_ROOM + at_F, there_F, 0).to(tl.int64) + FIRST
        # Before exclusions are applied, as in the band kernel: the host takes them off together.
        above += tl.sum((there_F & (score_F > ceiling)).to(tl.int32))
        keep_F = there_F & (score_F <= ceiling) & (score_F >= least)
        if STEPS > 0:
            first, last = tl.load(offset_ptr + query), tl.load(offset_ptr + query + 1)
            keep_F = keep_F & (_is_excluded(excluded_ptr, first, last, row_F, STEPS) == 0)
        place_F = kept + tl.cumsum(keep_F.to(tl.int32), 0) - 1
        at_C = query * KEPT_ROOM + place_F
        tl.store(kept_row_ptr + at_C, row_F, keep_F & (place_F < KEPT_ROOM))
        tl.store(kept_score_ptr + at_C, score_F, keep_F & (place_F < KEPT_ROOM))
        kept += tl.sum(keep_F.to(tl.int32))
    # Also past the room: by it `keep_best` sees that rows were lost.
    tl.store(kept_ptr + query, kept)
    tl.store(above_ptr + query, above)
    if found > FOUND_ROOM:
        tl.store(lost_ptr + query, 1)


def halvings(longest: int) -> int:
    """Steps that find a place in a list of so many, of few kinds: each is a kernel to compile.

    >>> [halvings(longest) for longest in (0, 1, 7, 8, 127, 128, 1 << 20)]
    [0, 4, 4, 8, 8, 16, 32]
    """
    if not longest:
        return 0
    return max(4, 1 << (int(longest).bit_length()).bit_length())


class DeviceLimits(NamedTuple):
    """The window and the exclusions of a block of queries on its device."""

    ceiling_B: torch.Tensor  # float32
    floor_B: torch.Tensor
    offset_B1: torch.Tensor  # int64
    excluded_E: torch.Tensor  # int64, ascending within a query
    longest: int  # exclusions of one query, at most


class CandidateRows(NamedTuple):
    """The candidates of each query: rows of the corpus, int64, exact scores, and how many."""

    row_BC: torch.Tensor
    score_BC: torch.Tensor
    count_B: torch.Tensor  # int32; more than there is room for, where the room ended
    above_B: torch.Tensor  # int32; rows found that score above the ceiling, excluded or not
    lost_B: torch.Tensor  # int32; 1 where there was no room for a row found


def admit_rows(
    hits: SlabHits, first: int, low_B: torch.Tensor, limits: DeviceLimits, kept: CandidateRows
) -> None:
    """Append what is inside the window, not excluded and scores `low_B` or more to `kept`.

    `first` is the slab's first row in the corpus.
    """
    _admit_rows[(len(hits.row_BF),)](
        *hits,
        low_B,
        *limits[:4],
        *kept,
        first,
        hits.row_BF.shape[1],
        kept.row_BC.shape[1],
        STEPS=halvings(limits.longest),
        CHUNK=min(256, triton.next_power_of_2(hits.row_BF.shape[1])),
    )
