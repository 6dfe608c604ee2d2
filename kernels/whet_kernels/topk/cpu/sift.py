"""What of a tile of int8 scores is worth a float32 look: one pass compiled by numba.

A query has room for some rows; when it is full, the k best stay, with all that are within rounding
of the k-th, and the threshold rises. Rows near the ceiling are scored exactly on the spot, so the
count of rows above it is exact.

Shape suffixes: B queries of a block, T rows of a tile, G groups of rows that share a scale, D
dimensions, C kept rows (up to the room), E exclusions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from whet_kernels.topk.compiled import compiled, dot, exact, inlined

SCALED_ROWS = 32  # rows of a tile that share a scale
LEAST_SUM, MOST_SUM = -(2**31), 2**31 - 1
CLOSE = 3  # rounding errors under the k-th dot within which a row may still be among the k best


class IntegerScores(NamedTuple):
    """Integer sums int32 [B, T] and what turns them into scores, float64 [B] and [G]."""

    sum_BT: np.ndarray
    height: int  # rows of the tile; the sums may be padded
    scale_B: np.ndarray
    scale_G: np.ndarray
    error_B: np.ndarray  # |score - float32 dot| <= error_B + norm_B lost_G
    norm_B: np.ndarray
    lost_G: np.ndarray


class FloatTile(NamedTuple):
    """The same in float32, and the number of the tile's first row."""

    query_BD: np.ndarray
    tile_TD: np.ndarray
    first: int


class Limits(NamedTuple):
    """What is allowed: ceilings (float32), the dots over and under which they need no exact score,
    and exclusions as CSR.
    """

    ceiling_B: np.ndarray
    over_B: np.ndarray
    near_B: np.ndarray
    rounding_B: np.ndarray  # bound of |float32 dot - exact score|
    offsets_B1: np.ndarray
    rows_E: np.ndarray


class Kept(NamedTuple):
    """What each query holds; changed in place."""

    score_BC: np.ndarray
    row_BC: np.ndarray
    size_B: np.ndarray
    least_B: np.ndarray  # float32 dots below this are not kept
    above_B: np.ndarray

    @classmethod
    def empty(cls, count: int, room: int) -> Kept:
        """Nothing yet."""
        return cls(
            np.empty((count, room), np.float32),
            np.empty((count, room), np.int64),
            np.zeros(count, np.int64),
            np.full(count, -np.inf, np.float32),
            np.zeros(count, np.int64),
        )


@compiled
def _best_to_front(score_C, row_C, size, keep):
    """Reorder so that the `keep` best of the first `size` stand first (Hoare's selection)."""
    low, high = 0, size - 1
    while low < high:
        pivot = score_C[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while score_C[i] > pivot:
                i += 1
            while score_C[j] < pivot:
                j -= 1
            if i <= j:
                score_C[i], score_C[j] = score_C[j], score_C[i]
                row_C[i], row_C[j] = row_C[j], row_C[i]
                i += 1
                j -= 1
        # Only the side that holds the boundary is sorted on: linear on average, where a sort is
        # not.
        if keep - 1 <= j:
            high = j
        elif keep - 1 >= i:
            low = i
        else:
            return


@inlined
def _as_sum(bound, inverse):
    """The integer sum whose score is the bound, rounded down and kept within int32."""
    return np.int32(math.floor(min(max(bound * inverse, LEAST_SUM + 1.0), MOST_SUM - 2.0)))


@compiled
def _is_excluded(rows_E, low, high, row):
    """Whether the row is among the sorted `rows_E[low:high]`."""
    end = high
    while low < high:
        middle = (low + high) // 2
        if rows_E[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low < end and rows_E[low] == row


@compiled
def _compact(b, k, limits, kept):
    """The k best stay and what is within rounding of the k-th; from now on a row must be, too.

    If that is more than half of what there is room for (many equal rows), the k best stay, and a
    row must beat them; the query will then not be certain and is scanned again.
    """
    score_C, row_C, size = kept.score_BC[b], kept.row_BC[b], kept.size_B[b]
    _best_to_front(score_C, row_C, size, k)
    kth = score_C[0]
    for c in range(1, k):
        kth = min(kth, score_C[c])
    # A dot so far under the k-th cannot belong to a row whose exact score beats it.
    least = np.float32(kth - CLOSE * limits.rounding_B[b])
    end = k
    for c in range(k, size):
        if score_C[c] >= least:
            score_C[end], row_C[end] = score_C[c], row_C[c]
            end += 1
    # Else a corpus of equal rows would fill the room again at once, and compact for ever.
    if end - k > (len(score_C) - k) // 2:
        end = k
        least = np.nextafter(kth, np.float32(np.inf))
    kept.size_B[b] = end
    kept.least_B[b] = max(kept.least_B[b], least)


@compiled
def _largest(sum_BT, b, begin, end):
    """Unsigned bounds: numba's check for negative indices would keep the loop from vectorising."""
    best = sum_BT[b, begin]
    for t in range(begin, end):
        best = max(best, sum_BT[b, t])
    return best


@compiled
def sift(
    span: tuple[int, int, int],
    scores: IntegerScores,
    vectors: FloatTile,
    limits: Limits,
    kept: Kept,
) -> None:
    """Let the queries `span` = (start, stop, k) look at a tile. Threads share nothing if their
    spans are apart.

    Three steps per query: the rows in doubt, without a branch that could be guessed wrong; their
    dots, so that the waits for memory overlap; and what follows from them.
    """
    start, stop, k = span
    doubt_T = np.empty(scores.height + 1, np.int64)
    near_T = np.empty(scores.height, np.float32)
    terms_D = np.empty(vectors.tile_TD.shape[1])
    for b in range(start, stop):
        doubtful = _in_doubt(b, scores, limits, kept, doubt_T)
        kept.above_B[b] -= _excluded_above(b, scores, vectors, limits)
        for i in range(doubtful):
            near_T[i] = dot(vectors.query_BD, b, vectors.tile_TD, doubt_T[i])
        _settle((b, doubtful, k), (doubt_T, near_T, terms_D), vectors, limits, kept)


@inlined
def _in_doubt(b, scores, limits, kept, doubt_T):
    """Fill `doubt_T` with the rows that need a dot and give their number; count those clearly above
    the ceiling, as if nothing were excluded.
    """
    bottom = min(np.float64(kept.least_B[b]), np.float64(limits.near_B[b]))
    top = np.float64(limits.over_B[b])
    doubtful, above = 0, 0
    for g in range((scores.height + SCALED_ROWS - 1) // SCALED_ROWS):
        begin, end = g * SCALED_ROWS, min(scores.height, (g + 1) * SCALED_ROWS)
        scale = scores.scale_B[b] * scores.scale_G[g]
        error = scores.error_B[b] + scores.norm_B[b] * scores.lost_G[g]
        best = _largest(scores.sum_BT, b, np.uintp(begin), np.uintp(end))
        # Most groups end here: one maximum over 32 rows, and no row of them is looked at.
        if best * scale < bottom - error:
            continue
        low, high = np.int32(LEAST_SUM), np.int32(MOST_SUM)
        if scale > 0:
            # Bounds as integers, once a group: the loop over rows then compares without
            # multiplying.
            low = _as_sum(bottom - error, 1 / scale)
            high = _as_sum(top + error, 1 / scale) + np.int32(1)
        for t in range(begin, end):
            value = scores.sum_BT[b, t]
            # Always written, kept only if `doubtful` moves on: so the loop has no branch.
            doubt_T[doubtful] = t
            doubtful += (value >= low) & (value <= high)
            above += value > high
    kept.above_B[b] += above
    return doubtful


@inlined
def _excluded_above(b, scores, vectors, limits):
    """How many excluded rows of the tile `_in_doubt` counted."""
    above = 0
    for e in range(limits.offsets_B1[b], limits.offsets_B1[b + 1]):
        t = limits.rows_E[e] - vectors.first
        if 0 <= t < len(vectors.tile_TD):
            g = t // SCALED_ROWS
            scale = scores.scale_B[b] * scores.scale_G[g]
            error = scores.error_B[b] + scores.norm_B[b] * scores.lost_G[g]
            if scale > 0:
                high = _as_sum(np.float64(limits.over_B[b]) + error, 1 / scale) + np.int32(1)
                above += scores.sum_BT[b, t] > high
    return above


@inlined
def _settle(place, rows, vectors, limits, kept):
    """Count the rows above the ceiling, keep those that may be among the best, drop the others."""
    (b, count, k), (doubt_T, near_T, terms_D) = place, rows
    low, high = limits.offsets_B1[b], limits.offsets_B1[b + 1]
    for i in range(count):
        t, near = doubt_T[i], near_T[i]
        if near < kept.least_B[b] and near < limits.near_B[b]:
            continue
        if _is_excluded(limits.rows_E, low, high, vectors.first + t):
            continue
        above = near > limits.over_B[b]
        # Within rounding of the ceiling a dot cannot say on which side the score lies.
        if not above and near >= limits.near_B[b]:
            score = exact(vectors.query_BD, b, vectors.tile_TD, t, terms_D)
            above = score > limits.ceiling_B[b]
        kept.above_B[b] += above
        if not above and near >= kept.least_B[b]:
            kept.score_BC[b, kept.size_B[b]] = near
            kept.row_BC[b, kept.size_B[b]] = vectors.first + t
            kept.size_B[b] += 1
            if kept.size_B[b] == kept.score_BC.shape[1]:
                _compact(b, k, limits, kept)
