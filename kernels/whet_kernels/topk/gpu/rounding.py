"""Before and after the first pass on a GPU: rounding vectors for it, and listing the rows it found.

Neither waits for the host. A list that would be longer than its room keeps counting, so that the
query can be done again.

Shape suffixes: B queries of a block, S rows of a slab, W words per query, F rows found per query,
P columns of the padded format, D dimensions.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from whet_kernels.topk.gpu.band_kernel import INTERPRET, Rounded, padding

GEARS = {"bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}
CHUNK = 512  # numbers of a vector read at a time
ROWS = 512 if INTERPRET else 4  # vectors a program rounds
LISTED = 64 if INTERPRET else 4  # queries whose words a program reads


@triton.jit
def _lowered(part_RD, scale_R, GEAR: tl.constexpr):
    """Numbers in the low format, the nearest or almost: what is lost is measured."""
    if GEAR == "int8":
        whole_RD = tl.floor(part_RD / scale_R[:, None] + 0.5)
        low_RD = tl.minimum(tl.maximum(whole_RD, -127.0), 127.0).to(tl.int8)
    elif GEAR == "fp16":
        low_RD = tl.minimum(tl.maximum(part_RD, -65504.0), 65504.0).to(tl.float16)
    else:
        # a subnormal goes to zero here, so that no bound depends on how the hardware treats it
        low_RD = tl.where(tl.abs(part_RD) < 1.1754944e-38, 0.0, part_RD).to(tl.bfloat16)
    return low_RD


@triton.jit
def _norm(square_RD):
    """The root of the sum of squares, and a little: D * 2^-53 and the root, for any D in memory."""
    norm_R = tl.sqrt(tl.sum(square_RD, axis=1))
    return norm_R + norm_R * 2.0**-40


@triton.jit
def _keep_largest(largest_ptr, norm_R):
    """The largest of the norms so far; NaN counts as infinity. The bits of numbers that are not
    negative are ordered as the numbers are.
    """
    largest = tl.max(tl.where(norm_R == norm_R, norm_R, float("inf")), axis=0)
    at = largest_ptr.to(tl.pointer_type(tl.int64))
    tl.atomic_max(at, largest.to(tl.int64, bitcast=True), sem="relaxed")


@triton.jit(do_not_specialize=["COUNT"])  # the last slab's number of rows is no kernel of its own
def _round_rows(
    vector_ptr,
    low_ptr,
    scale_ptr,
    norm_ptr,
    error_ptr,
    largest_ptr,
    COUNT,
    PADDED_COUNT,
    STRIDE,
    D,
    PADDED,
    GEAR: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Vectors to the low format, zeros beyond them, and the norms of each and of what it lost."""
    at_R = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there_R, padded_R = at_R < COUNT, at_R < PADDED_COUNT
    row_R1 = at_R.to(tl.int64)[:, None]
    scale_R = tl.full((ROWS,), 1.0, tl.float32)
    if GEAR == "int8":
        top_R = tl.zeros((ROWS,), tl.float32)
        for first in range(0, D, CHUNK):
            at_1D = first + tl.arange(0, CHUNK)[None, :]
            part_RD = tl.load(
                vector_ptr + row_R1 * STRIDE + at_1D, there_R[:, None] & (at_1D < D), 0.0
            )
            top_R = tl.maximum(top_R, tl.max(tl.abs(part_RD.to(tl.float32)), axis=1))
        # A (nearly) zero vector keeps scale 1: its own would be zero or subnormal, and divide
        # badly.
        scale_R = tl.where(top_R > 1e-35, top_R / 127.0, 1.0)
    norm_RD = tl.zeros((ROWS, CHUNK), tl.float64)
    error_RD = tl.zeros((ROWS, CHUNK), tl.float64)
    for first in range(0, PADDED, CHUNK):
        at_1D = first + tl.arange(0, CHUNK)[None, :]
        there_RD = there_R[:, None] & (at_1D < D)
        part_RD = tl.load(vector_ptr + row_R1 * STRIDE + at_1D, there_RD, 0.0).to(tl.float32)
        low_RD = _lowered(part_RD, scale_R, GEAR)
        tl.store(low_ptr + row_R1 * PADDED + at_1D, low_RD, padded_R[:, None] & (at_1D < PADDED))
        # What rounding cost is measured, not bounded: that makes the band as narrow as it can be.
        exact_RD = part_RD.to(tl.float64)
        back_RD = low_RD.to(tl.float32).to(tl.float64) * scale_R.to(tl.float64)[:, None]
        norm_RD += exact_RD * exact_RD
        error_RD += (exact_RD - back_RD) * (exact_RD - back_RD)
    norm_R, error_R = _norm(norm_RD), _norm(error_RD)
    tl.store(scale_ptr + at_R, scale_R, padded_R)
    tl.store(norm_ptr + at_R, norm_R, padded_R)
    tl.store(error_ptr + at_R, error_R, padded_R)
    _keep_largest(largest_ptr, norm_R)
    _keep_largest(largest_ptr + 1, error_R)


def low_dtype(gear: str) -> torch.dtype:
    """The format of a gear; Triton's interpreter cannot multiply bfloat16, and takes its values in
    float32.
    """
    return torch.float32 if INTERPRET and gear == "bf16" else GEARS[gear]


def round_rows(vector_SD: torch.Tensor, gear: str, out: Rounded) -> Rounded:
    """Write vectors, of any float format, into `out` in the format of the gear, with upper bounds
    of their norms and of the norms of what was lost, NaN where a vector holds NaN or infinity. The
    largest of both are those since `largest_2` was zero, and infinity there.
    """
    rows, dimension = vector_SD.shape
    padded = len(out.low_SP)
    _round_rows[(triton.cdiv(padded, ROWS),)](
        vector_SD,
        *out,
        rows,
        padded,
        vector_SD.stride(0),
        dimension,
        out.low_SP.shape[1],
        GEAR=gear,
        ROWS=ROWS,
        CHUNK=min(CHUNK, triton.next_power_of_2(dimension)),
    )
    return out


def room_for_rounded(rows: int, dimension: int, gear: str, device: torch.device) -> Rounded:
    """An empty `Rounded`, its sides padded to the tiles."""
    tile = padding()
    high = triton.cdiv(rows, max(tile.queries, tile.rows)) * max(tile.queries, tile.rows)
    wide = triton.cdiv(dimension, tile.depth) * tile.depth
    return Rounded(
        torch.zeros(high, wide, dtype=low_dtype(gear), device=device),
        torch.ones(high, device=device),
        torch.zeros(high, dtype=torch.float64, device=device),
        torch.zeros(high, dtype=torch.float64, device=device),
        torch.zeros(2, dtype=torch.float64, device=device),
    )


@triton.jit
def _lowest_bit(word):
    """The place of the lowest bit set: the exponent of that power of two in float32."""
    lowest = (word & (0 - word)).to(tl.uint32, bitcast=True).to(tl.float32)
    return (lowest.to(tl.int32, bitcast=True) >> 23) - 127


@triton.jit
def _list_rows(
    word_ptr,
    row_ptr,
    count_ptr,
    QUERIES,
    WORDS,
    ROOM,
    BINS: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """The rows whose bits are set in the words of queries; a count goes on where the room ends."""
    at_R = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    query_R1 = at_R.to(tl.int64)[:, None]
    count_R = tl.zeros((ROWS,), tl.int32)
    for first in range(0, WORDS, CHUNK):
        at_W = first + tl.arange(0, CHUNK)
        there_RW = (at_R < QUERIES)[:, None] & (at_W < WORDS)[None, :]
        word_RW = tl.load(word_ptr + query_R1 * WORDS + at_W[None, :], there_RW, 0)
        # A word's 32 rows lie BINS apart (see `words_of`), so its first row and a stride name them
        # all.
        base_W = (at_W // BINS) * (32 * BINS) + at_W % BINS
        some_RW = (word_RW != 0).to(tl.int32)
        while tl.max(tl.max(some_RW, axis=1), axis=0) > 0:
            place_RW = count_R[:, None] + tl.cumsum(some_RW, 1) - 1
            row_RW = base_W[None, :] + _lowest_bit(word_RW) * BINS
            stored_RW = (some_RW > 0) & (place_RW < ROOM)
            tl.store(row_ptr + query_R1 * ROOM + place_RW, row_RW, stored_RW)
            count_R += tl.sum(some_RW, axis=1)
            # Clears the lowest bit: as many rounds as the fullest word has bits.
            word_RW = word_RW & (word_RW - 1)
            some_RW = (word_RW != 0).to(tl.int32)
    tl.store(count_ptr + at_R, count_R, at_R < QUERIES)


def list_rows(word_BW: torch.Tensor, row_BF: torch.Tensor, count_B: torch.Tensor) -> None:
    """Write the rows of the set bits, counted from the slab's first, and how many there are.

    `word_BW` may hold more queries than `row_BF` has room for: the first of them count.
    """
    words, queries = word_BW.shape[1], len(row_BF)
    _list_rows[(triton.cdiv(queries, LISTED),)](
        word_BW,
        row_BF,
        count_B,
        queries,
        words,
        row_BF.shape[1],
        BINS=padding().bins,
        ROWS=LISTED,
        CHUNK=min(256, triton.next_power_of_2(words)),
    )
