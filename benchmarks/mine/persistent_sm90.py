"""What a persistent band kernel could reach on an H100 or H200 (sm_90), without one: the model of
roof.py for each tile, and what Triton makes of such a kernel, with its tiles copied by the copy
engine (TMA), its loop over tiles flattened into that over the depth, or its warps specialised.

    python benchmarks/mine/persistent_sm90.py
    python benchmarks/mine/persistent_sm90.py --quick    # one tile: does it run?
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)  # read when triton is imported
if find_spec("triton") is None:
    print("left out: everything: needs triton, not installed here")
    sys.exit()

import triton
import triton.language as tl
from compile_sm90 import band, compiled, cubin
from roof import Roof, Tile, roof_of, usage

from whet_kernels.topk.gpu.band_kernel import BandTile, _count, packed_hits, tiles_for

MULTIPROCESSORS = 132
WAYS = {"plain": (False, False), "flattened": (True, False), "specialised": (False, True)}


@triton.jit(do_not_specialize=["ROWS"])
def _persistent(
    query_ptr,
    row_ptr,
    low_ptr,
    high_ptr,
    out_ptr,
    above_ptr,
    QUERIES,
    SLAB,
    ROWS,
    DEPTH: tl.constexpr,
    BINS: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    GROUP: tl.constexpr,
    PROGRAMS: tl.constexpr,
    FLATTEN: tl.constexpr,
    SPECIALISE: tl.constexpr,
):
    """`_band_kernel` with a ceiling, 16 bits: the comparison is the same, the loop is not."""
    query = tl.make_tensor_descriptor(query_ptr, [QUERIES, DEPTH], [DEPTH, 1], [BM, BK])
    row = tl.make_tensor_descriptor(row_ptr, [SLAB, DEPTH], [DEPTH, 1], [BN, BK])
    blocks, tiles = tl.cdiv(QUERIES, BM), tl.cdiv(SLAB, BN)
    for program in tl.range(
        tl.program_id(0), blocks * tiles, PROGRAMS, flatten=FLATTEN, warp_specialize=SPECIALISE
    ):
        wave = GROUP * tiles
        first = (program // wave) * GROUP
        size = tl.minimum(blocks - first, GROUP)
        block, tile = first + (program % wave) % size, (program % wave) // size
        score_MN = tl.zeros((BM, BN), tl.float32)
        for at in range(0, DEPTH, BK):
            query_MK, row_NK = query.load([block * BM, at]), row.load([tile * BN, at])
            score_MN = tl.dot(query_MK, row_NK.T, score_MN)
        at_M, at_N = block * BM + tl.arange(0, BM), tile * BN + tl.arange(0, BN)
        real_1GB = packed_hits((at_N < ROWS)[None, :], BINS)
        above_MGB = packed_hits(score_MN > tl.load(high_ptr + at_M)[:, None], BINS)
        at_least_MGB = packed_hits(score_MN >= tl.load(low_ptr + at_M)[:, None], BINS)
        _count(above_ptr, at_M, above_MGB & real_1GB)
        WORDS: tl.constexpr = BN // 32
        out_MW = tl.reshape(at_least_MGB & ~above_MGB & real_1GB, (BM, WORDS))
        at_W = tile * WORDS + tl.arange(0, WORDS)
        tl.store(out_ptr + at_M[:, None].to(tl.int64) * (SLAB // 32) + at_W[None, :], out_MW)


def modelled(tile: BandTile, dimension: int) -> Roof:
    """The roof of the kernel that mining takes, in such a tile."""
    binary = band("fp16", dimension, tile)
    cut = Tile(tile.queries, tile.rows, tile.depth, dimension, tile.warps)
    with cubin(binary) as path:
        return roof_of(path, cut, binary.metadata.shared)


def made(tile: BandTile, way: str) -> list[str]:
    """Registers, stack and shared memory of the persistent kernel, as cells; or why there is
    none.
    """
    flatten, specialise = WAYS[way]
    constants: dict[str, Any] = {"DEPTH": 768, "BINS": tile.bins, "PROGRAMS": MULTIPROCESSORS}
    constants |= {"BM": tile.queries, "BN": tile.rows, "BK": tile.depth, "GROUP": tile.group}
    constants |= {"FLATTEN": flatten, "SPECIALISE": specialise}
    types = {"query_ptr": "*fp16", "row_ptr": "*fp16"}
    try:
        binary = compiled(_persistent, constants, types, warps=tile.warps, stages=tile.stages)
    except RuntimeError as error:  # a pass of the compiler
        return ["", "", "", f"not compiled: {str(error).splitlines()[0]}"]
    with cubin(binary) as path:
        registers, stack = usage(path)
    given = "yes" if "setmaxnreg" in binary.asm["ptx"] else "no"
    shared = f"{binary.metadata.shared // 1024} KiB"
    return [str(registers), str(stack), shared, given if specialise else ""]


def _row(cells: list[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(": ")[0])
    parser.add_argument("--quick", action="store_true", help="one tile")
    quick = parser.parse_args().quick
    tiles = tiles_for(whole=False, count_floor=False)[: 1 if quick else None]
    print(
        f"Shares of the tensor cores' rate by the model of roof.py, Triton {triton.__version__}\n"
    )
    _row(["D", "tile", "warps", "stages", "now", "persistent", "warps in turns"])
    _row(["---"] * 7)
    for dimension in (768,) if quick else (384, 768):
        for tile in tiles:
            roof = modelled(tile, dimension)
            shares = [f"{share:.0%}" for share in (roof.share, roof.persistent, roof.in_turns)]
            cut = f"{tile.queries} x {tile.rows} x {tile.depth}"
            _row([str(dimension), cut, str(tile.warps), str(tile.stages), *shares])
    print("\nWhat Triton makes of the persistent kernel, D = 768\n")
    _row(["tile", "warps", "stages", "loop", "registers", "stack", "shared", "specialised"])
    _row(["---"] * 8)
    for tile in tiles:
        for way in WAYS:
            cut = f"{tile.queries} x {tile.rows} x {tile.depth}"
            _row([cut, str(tile.warps), str(tile.stages), way, *made(tile, way)])
    if quick:
        print("\nA quick run: everything ran, for one tile.")


if __name__ == "__main__":
    main()
