"""The cheapest rival of the fused kernel: a library product into a tile that stays in the level-2
cache, and a second kernel that compares the tile with the band. Prints milliseconds of the product
alone, of both, and of the fused kernel, for the same queries and rows.

    python benchmarks/mine/l2_tiles.py --queries 16384 --rows 131072 --dimension 768
    python benchmarks/mine/l2_tiles.py --quick    # the smallest shape: does it run?

Shape suffixes: B queries, S rows, T rows of a tile, P dimensions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec

import torch

if not torch.cuda.is_available() or find_spec("triton") is None:
    print("left out: everything: needs a CUDA GPU and triton")
    sys.exit("--quick" not in sys.argv)  # a quick run may leave out what it cannot do

import triton
import triton.language as tl

from whet_kernels.topk.gpu.band_kernel import Band, band_words, packed_hits, padding
from whet_kernels.topk.gpu.rounding import room_for_rounded, round_rows

TILE_QUERIES, TILE_ROWS = 2048, 8192  # 32 MiB of bfloat16 scores


@triton.jit
def _compare(
    score_ptr: tl.tensor,
    low_ptr: tl.tensor,
    high_ptr: tl.tensor,
    word_ptr: tl.tensor,
    ROWS: tl.tensor,
    BINS: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
) -> None:
    at_M = tl.program_id(0) * BM + tl.arange(0, BM)
    at_N = tl.program_id(1) * BN + tl.arange(0, BN)
    score_MN = tl.load(score_ptr + at_M[:, None] * ROWS + at_N[None, :]).to(tl.float32)
    hit_MN = score_MN >= tl.load(low_ptr + at_M)[:, None]
    hit_MN = hit_MN & (score_MN <= tl.load(high_ptr + at_M)[:, None])
    word_MW = tl.reshape(packed_hits(hit_MN, BINS), (BM, BN // 32))
    at_W = tl.program_id(1) * (BN // 32) + tl.arange(0, BN // 32)
    tl.store(word_ptr + at_M[:, None] * (ROWS // 32) + at_W[None, :], word_MW)


def compare_tile(score_BT: torch.Tensor, band: Band, word_BW: torch.Tensor) -> None:
    """Which scores of a tile are in each query's band, as the words of `band_words`."""
    queries, rows = score_BT.shape
    span, bins = padding().span, padding().bins
    grid = (triton.cdiv(queries, 16), triton.cdiv(rows, span))
    _compare[grid](score_BT, band.low_B, band.high_B, word_BW, rows, BINS=bins, BM=16, BN=span)


def tiled(
    query_BP: torch.Tensor, row_SP: torch.Tensor, band: Band | None, score_BT: torch.Tensor
) -> None:
    """Every tile's product, and its comparison with the band, if there is one."""
    word_BW = torch.empty(len(score_BT), TILE_ROWS // 32, dtype=torch.int32, device=row_SP.device)
    for first in range(0, len(query_BP), TILE_QUERIES):
        here = slice(first, first + TILE_QUERIES)
        part = Band(*(edge_B[here] for edge_B in band)) if band else None
        for start in range(0, len(row_SP), TILE_ROWS):
            torch.mm(query_BP[here], row_SP[start : start + TILE_ROWS].T, out=score_BT)
            if part:
                compare_tile(score_BT, part, word_BW)


def milliseconds(work: Callable[[], object]) -> float:
    """The median of several runs, after one that warms up."""
    return float(triton.testing.do_bench(work, warmup=100, rep=500, return_mode="median"))


def main() -> None:
    """Print the three times and the rates they mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("queries", 16384), ("rows", 131072), ("dimension", 768)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--quick", action="store_true", help="the smallest shape")
    asked = parser.parse_args()
    if asked.quick:
        asked.queries, asked.rows, asked.dimension = TILE_QUERIES, TILE_ROWS, 128
    device = torch.device("cuda")
    vectors = [torch.randn(n, asked.dimension, device=device) for n in (asked.queries, asked.rows)]
    vectors = [torch.nn.functional.normalize(part, dim=1) for part in vectors]
    query, rows = (
        round_rows(part, "bf16", room_for_rounded(len(part), part.shape[1], "bf16", device))
        for part in vectors
    )
    edges = torch.full((len(query.low_SP),), 4 / asked.dimension**0.5, device=device)
    band = Band(edges, edges * 2, edges, edges)
    score_BT = torch.empty(TILE_QUERIES, TILE_ROWS, dtype=torch.bfloat16, device=device)
    times = {
        "product alone": lambda: tiled(query.low_SP, rows.low_SP, None, score_BT),
        "product and comparison": lambda: tiled(query.low_SP, rows.low_SP, band, score_BT),
        "fused": lambda: band_words(query, rows, asked.rows, band, None),
    }
    work = 2 * asked.queries * asked.rows * asked.dimension
    for name, run in times.items():
        took = milliseconds(run)
        print(f"{name}: {took:.2f} ms, {work / took / 1e9:.0f} TFLOP/s", flush=True)
    if asked.quick:
        print("A quick run: everything ran. Its times mean nothing.")


if __name__ == "__main__":
    main()
