"""The first pass of the search on a GPU: which rows of a slab are in a query's band, a bit per row.

One program multiplies a tile of queries with a tile of rows, and compares every score, still in
registers, with the band [low_q, high_q] of its query. 32 comparisons make one word, so Q x S scores
leave the chip as Q x S / 32 words, and which rows of a word are inside is known exactly: no row of
it has to be looked at again. There is no branch that depends on data. Integer atomics count rows
beyond a threshold; integer sums do not depend on their order.

A word holds 32 columns that are equal modulo BINS within a group of 32 * BINS: in the layout of
tensor core results those sit in one thread or two, so making a word costs next to no exchange.

In the mode BEST the kernel gives the largest score of each such 32 columns instead, of those up to
high_q: from a sample of the corpus that makes the first lower band edges.

Shape suffixes: B queries of a block, S rows of a slab, W words per query, P columns padded to the
tile.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

WORD = 32  # rows in a word
INTERPRET = triton.knobs.runtime.interpret


class BandTile(NamedTuple):
    """How the product is cut: results do not depend on it."""

    queries: int
    rows: int
    depth: int
    bins: int  # words per group of 32 * bins rows; fixes the place of a row in the words
    group: int  # query tiles that share a tile of rows in the level-2 cache
    warps: int
    stages: int

    @property
    def span(self) -> int:
        """Rows of the corpus that a group of words covers."""
        return WORD * self.bins


class Rounded(NamedTuple):
    """Vectors in the format of the tensor cores, with what the rounding cost."""

    low_SP: torch.Tensor  # zero beyond the vectors' dimension and number
    scale_S: torch.Tensor  # float32; low * scale is the vector, nearly
    norm_S: torch.Tensor  # float64 norms of the vectors
    error_S: torch.Tensor  # float64 norms of vector - low * scale
    largest_2: torch.Tensor  # float64, the largest of these norms and of these errors


class Band(NamedTuple):
    """The band of scores wanted and the edges counted, float32 [B] each."""

    low_B: torch.Tensor
    high_B: torch.Tensor
    floor_low_B: torch.Tensor
    floor_high_B: torch.Tensor


@triton.jit
def _tile_of(BLOCKS, TILES, GROUP: tl.constexpr):
    """Programs in an order in which GROUP query tiles use a tile of rows one after another."""
    program = tl.program_id(0)
    wave = GROUP * TILES
    first = (program // wave) * GROUP
    size = tl.minimum(BLOCKS - first, GROUP)
    return first + (program % wave) % size, (program % wave) // size


@triton.jit
def _product(
    query_ptr, row_ptr, at_M, at_N, DEPTH: tl.constexpr, BK: tl.constexpr, WHOLE: tl.constexpr
):
    """Dot products of a tile, float32 [M, N], or int32 for int8 vectors."""
    at_K = tl.arange(0, BK)
    query_MK = query_ptr + at_M[:, None].to(tl.int64) * DEPTH + at_K[None, :]
    row_KN = row_ptr + at_N[None, :].to(tl.int64) * DEPTH + at_K[:, None]
    kind: tl.constexpr = tl.int32 if WHOLE else tl.float32
    score_MN = tl.zeros((at_M.shape[0], at_N.shape[0]), kind)
    for _ in range(0, DEPTH, BK):
        score_MN = tl.dot(tl.load(query_MK), tl.load(row_KN), score_MN, out_dtype=kind)
        query_MK += BK
        row_KN += BK
    return score_MN


@triton.jit
def _by_word(part_MN, BINS: tl.constexpr):
    """The columns of a tile by word: [M, groups, 32, BINS]."""
    GROUPS: tl.constexpr = part_MN.shape[1] // (32 * BINS)
    return tl.reshape(part_MN, (part_MN.shape[0], GROUPS, 32, BINS))


@triton.jit
def packed_hits(hit_MN: tl.tensor, BINS: tl.constexpr) -> tl.tensor:
    """Hits as the bits of int32 words, [M, groups, BINS]: column l * BINS + c of a group is bit l
    of its word c.
    """
    column_N = tl.arange(0, hit_MN.shape[1])
    bit_N = (1 << ((column_N // BINS) % 32)).to(tl.int32)
    return tl.sum(_by_word(tl.where(hit_MN, bit_N[None, :], 0), BINS), axis=2)


@triton.jit
def _ones(word):
    """How many bits of each word are set (Warren, Hacker's Delight, figure 5-2)."""
    word = word.to(tl.uint32, bitcast=True)
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def _count(count_ptr, at_M, hit_MGB):
    """Add each query's hits, given as words of bits, to its count.

    Words, since 32 comparisons kept apart until the end would cost a program half its registers.
    Relaxed: nobody reads a count before the kernel ends, and an order would be kept in each tile.
    """
    count_M = tl.sum(tl.sum(_ones(hit_MGB), axis=2), axis=1)
    tl.atomic_add(count_ptr + at_M, count_M, sem="relaxed")


@triton.jit(do_not_specialize=["ROWS"])  # the last slab's number of rows is no kernel of its own
def _band_kernel(
    query_ptr,
    row_ptr,
    query_scale_ptr,
    row_scale_ptr,
    low_ptr,
    high_ptr,
    floor_low_ptr,
    floor_high_ptr,
    out_ptr,
    above_ptr,
    floor_ptr,
    near_ptr,
    QUERIES,
    SLAB,
    ROWS,
    DEPTH: tl.constexpr,
    WHOLE: tl.constexpr,
    BEST: tl.constexpr,
    COUNT_ABOVE: tl.constexpr,
    COUNT_FLOOR: tl.constexpr,
    BINS: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    GROUP: tl.constexpr,
):
    block, tile = _tile_of(tl.cdiv(QUERIES, BM), tl.cdiv(SLAB, BN), GROUP)
    at_M = block * BM + tl.arange(0, BM)
    at_N = tile * BN + tl.arange(0, BN)
    score_MN = _product(query_ptr, row_ptr, at_M, at_N, DEPTH, BK, WHOLE)
    if WHOLE:
        # int32 sums are exact: the three roundings here are all there are (`score_error`).
        score_MN = score_MN.to(tl.float32) * tl.load(row_scale_ptr + at_N)[None, :]
        score_MN *= tl.load(query_scale_ptr + at_M)[:, None]
    # Padded rows are zero vectors: their score 0 could lie in a band, so they are masked by place.
    real_1N = (at_N < ROWS)[None, :]
    high_M1 = tl.load(high_ptr + at_M)[:, None]
    if BEST:
        part_MN = tl.where((score_MN <= high_M1) & real_1N, score_MN, -float("inf"))
        out_MW = tl.max(_by_word(part_MN, BINS), axis=2)
    else:
        real_1GB = packed_hits(real_1N, BINS)
        above_MGB = packed_hits(score_MN > high_M1, BINS)
        at_least_MGB = packed_hits(score_MN >= tl.load(low_ptr + at_M)[:, None], BINS)
        out_MW = at_least_MGB & ~above_MGB & real_1GB
        # Counts include excluded rows; `write_results` takes those off on the host.
        if COUNT_ABOVE:
            _count(above_ptr, at_M, above_MGB & real_1GB)
        if COUNT_FLOOR:
            over_MGB = packed_hits(score_MN > tl.load(floor_high_ptr + at_M)[:, None], BINS)
            from_MGB = packed_hits(score_MN >= tl.load(floor_low_ptr + at_M)[:, None], BINS)
            _count(floor_ptr, at_M, over_MGB & real_1GB)
            # Too near to the floor to tell: another pass decides them if need be.
            _count(near_ptr, at_M, from_MGB & ~over_MGB & real_1GB)
    WORDS: tl.constexpr = BN // 32
    out_MW = tl.reshape(out_MW, (BM, WORDS))
    at_W = tile * WORDS + tl.arange(0, WORDS)
    # int64, for queries times words may pass 2^31.
    tl.store(out_ptr + at_M[:, None].to(tl.int64) * (SLAB // 32) + at_W[None, :], out_MW)


# what is tried on a GPU, for 16 bits; benchmarks/mine/sm90.md says what each compiles to
TILES = (
    BandTile(128, 128, 64, 4, 16, 8, 3),
    BandTile(128, 128, 64, 4, 8, 8, 4),
    BandTile(128, 128, 64, 4, 8, 4, 3),
    BandTile(256, 128, 64, 4, 8, 8, 3),
    BandTile(128, 256, 64, 4, 8, 8, 3),
    BandTile(128, 256, 64, 4, 16, 8, 4),
)
ON_GPU = BandTile(256, 256, 128, 4, 8, 8, 3)  # its sides are multiples of those of every tile
INTERPRETED = BandTile(64, 128, 64, 2, 2, 4, 1)


def tiles_for(*, whole: bool, count_floor: bool) -> list[BandTile]:
    """The tiles tried: 8-bit ones are twice as deep in the same bytes.

    With a floor those of 128 scores of 16 bits per thread would spill registers.
    """
    if INTERPRET:
        return [INTERPRETED]
    tiles = [tile._replace(depth=tile.depth * 2) if whole else tile for tile in TILES]
    return [tile for tile in tiles if whole or not count_floor or _scores_a_thread(tile) < 128]


def _scores_a_thread(tile: BandTile) -> int:
    return tile.queries * tile.rows // (32 * tile.warps)


def _tuned(tiles: list[BandTile]) -> Any:
    """The kernel that tries the tiles when a dimension first comes up, and keeps the fastest."""
    return triton.autotune(
        configs=[
            triton.Config(
                {"BM": tile.queries, "BN": tile.rows, "BK": tile.depth, "GROUP": tile.group},
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
            for tile in tiles
        ],
        key=["DEPTH"],
        restore_value=["above_ptr", "floor_ptr", "near_ptr"],  # a trial must not count
    )(_band_kernel)


@functools.cache  # also by `count_above`: with counts another tile may be the fastest
def _kernel(*, whole: bool, best: bool, count_above: bool, count_floor: bool) -> Any:
    tiles = tiles_for(whole=whole, count_floor=count_floor)
    return _tuned(tiles[:1] if best else tiles)  # of a sample: not worth the trials


class Counts(NamedTuple):
    """What a pass counts for each query, int32 [B]: a query sees at most 2^31 rows."""

    above_B: torch.Tensor  # scores above the band
    floor_B: torch.Tensor  # scores above the band of the floor
    near_B: torch.Tensor  # scores inside it
    with_floor: bool  # whether the last two are counted

    @classmethod
    def zeros(cls, count: int, device: torch.device, *, with_floor: bool) -> Counts:
        """Nothing counted yet."""
        above_B, floor_B, near_B = torch.zeros(3, count, dtype=torch.int32, device=device)
        return cls(above_B, floor_B, near_B, with_floor)


def padding() -> BandTile:
    """The tile whose sides the sides of blocks and slabs are multiples of."""
    return INTERPRETED if INTERPRET else ON_GPU


def band_words(
    query: Rounded, rows: Rounded, count: int, band: Band, counts: Counts | None
) -> torch.Tensor:
    """Which of the first `count` rows score in each query's band, int32 words [B, W].

    Bit l of word w of a query is row (w // bins) * span + l * bins + w % bins, with `bins` and
    `span` of `padding()`. What is beyond the thresholds is added to `counts`, if given.
    """
    out_BW = _out(query, rows, torch.int32)
    _launch(query, rows, count, band, counts=counts, out_BW=out_BW)
    return out_BW


def best_of_bins(query: Rounded, rows: Rounded, count: int, high_B: torch.Tensor) -> torch.Tensor:
    """The largest score up to `high_B` (float32) in each bin of 32 rows, -inf without one, float32
    [B, W].
    """
    out_BW = _out(query, rows, torch.float32)
    band = Band(high_B, high_B, high_B, high_B)
    _launch(query, rows, count, band, counts=None, out_BW=out_BW)
    return out_BW


def band_words_reference(score_BS: torch.Tensor, band: Band, bins: int) -> torch.Tensor:
    """`band_words` of given scores, float32 [B, S], by comparing them: the oracle of the kernel."""
    inside_BS = (score_BS >= band.low_B[:, None]) & (score_BS <= band.high_B[:, None])
    inside_BGLC = inside_BS.reshape(len(score_BS), -1, WORD, bins)
    bit_L1 = torch.arange(WORD, device=score_BS.device)[:, None]
    return (inside_BGLC.long() << bit_L1).sum(2).flatten(1).to(torch.int32)


def _out(query: Rounded, rows: Rounded, dtype: torch.dtype) -> torch.Tensor:
    shape = (len(query.low_SP), len(rows.low_SP) // WORD)
    return torch.empty(shape, dtype=dtype, device=query.low_SP.device)


def _launch(
    query: Rounded,
    rows: Rounded,
    count: int,
    band: Band,
    *,
    counts: Counts | None,
    out_BW: torch.Tensor,
) -> None:
    queries, slab = len(query.low_SP), len(rows.low_SP)
    spare = counts[:3] if counts else (band.low_B,) * 3  # not touched
    whole = query.low_SP.dtype == torch.int8
    count_floor = counts is not None and counts.with_floor

    def grid(meta: dict[str, int]) -> tuple[int]:
        return (triton.cdiv(queries, meta["BM"]) * triton.cdiv(slab, meta["BN"]),)

    flags = {"count_above": counts is not None, "count_floor": count_floor}
    best = out_BW.dtype == torch.float32
    _kernel(whole=whole, best=best, **flags)[grid](
        query.low_SP,
        rows.low_SP,
        query.scale_S,
        rows.scale_S,
        *band,
        out_BW,
        *spare,
        queries,
        slab,
        count,
        DEPTH=query.low_SP.shape[1],
        WHOLE=whole,
        BEST=best,
        COUNT_ABOVE=counts is not None,
        COUNT_FLOOR=count_floor,
        BINS=padding().bins,
    )
