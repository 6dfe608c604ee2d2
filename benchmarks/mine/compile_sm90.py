"""Compile the kernels of the GPU search for an H100 or H200 (sm_90), without one, and tell what
came out: registers a thread, bytes of stack (where spills go), shared memory, tensor core
instructions.

    python benchmarks/mine/compile_sm90.py > benchmarks/mine/sm90.md
    python benchmarks/mine/compile_sm90.py --quick    # one kernel of each kind: does it run?
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)  # read when triton is imported
if find_spec("triton") is None:
    print("left out: everything: needs triton, not installed here")
    sys.exit()

import triton
from roof import Tile, roof_of, usage
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from whet_kernels.topk.gpu import (
    band_kernel as band_bits,
)
from whet_kernels.topk.gpu import (
    edges,
)
from whet_kernels.topk.gpu import (
    exact as band_exact,
)
from whet_kernels.topk.gpu import (
    rounding as band_rows,
)

POINTERS = {"fp16": "*fp16", "bf16": "*bf16", "int8": "*i8"}
COUNTED: tuple[tuple[bool, bool], ...] = (
    (True, False),
    (True, True),
    (False, False),
)  # above the ceiling, at the floor
INT32 = {"out_ptr", "above_ptr", "floor_ptr", "near_ptr", "word_ptr", "row_ptr", "count_ptr"}
INT32 |= {"found_ptr", "kept_ptr", "place_ptr", "lost_ptr"}
INT64 = {"offset_ptr", "excluded_ptr", "kept_row_ptr"}
FLOAT64 = {"norm_ptr", "error_ptr", "lost_norm_ptr", "largest_ptr"}


def _signature(kernel: Any, constants: dict[str, Any], types: dict[str, str]) -> dict[str, str]:
    """Triton's type of every argument, by its name."""
    found = {}
    for name in kernel.arg_names:
        kinds = {"*i32": INT32, "*i64": INT64, "*fp64": FLOAT64}
        usual = next((kind for kind, names in kinds.items() if name in names), "*fp32")
        usual = usual if name.endswith("_ptr") else "i32"
        found[name] = "constexpr" if name in constants else types.get(name, usual)
    return found


def compiled(
    kernel: Any, constants: dict[str, Any], types: dict[str, str], *, warps: int, stages: int
) -> Any:
    """The kernel for sm_90; pointers and sizes are multiples of 16, as they are in use."""
    names = kernel.arg_names
    aligned = [name for name in names if name.endswith("_ptr") or name in ("QUERIES", "SLAB")]
    source = ASTSource(
        fn=kernel,
        signature=_signature(kernel, constants, types),
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


def _usage(binary: Any, tile: Tile | None = None) -> list[str]:
    """Registers, stack, shared memory and instructions of a compiled kernel, as table cells; of a
    product cut into tiles also what holds it (roof.py).
    """
    with cubin(binary) as path:
        registers, stack = usage(path)
        roof = roof_of(path, tile, binary.metadata.shared).cells() if tile else []
    ptx = binary.asm["ptx"]
    cells = [str(registers), str(stack), f"{binary.metadata.shared // 1024} KiB"]
    cells += [str(ptx.count(word)) for word in ("wgmma.mma_async", "cp.async.cg", ".ftz")]
    return cells + roof


@contextmanager
def cubin(binary: Any) -> Iterator[Path]:
    """A compiled kernel's machine code as a file."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        yield Path(file.name)


def check() -> None:
    """SystemExit where the kernel that mining takes has lost what makes it fast: registers enough
    for two blocks, few instructions behind the product, and no fence.
    """
    tile = band_bits.tiles_for(whole=False, count_floor=False)[0]
    binary = band("fp16", 768, tile)
    cut = Tile(tile.queries, tile.rows, tile.depth, 768, tile.warps)
    with cubin(binary) as path:
        roof = roof_of(path, cut, binary.metadata.shared)
    if roof.stack or roof.blocks < 2 or roof.after > 11 or roof.fences:
        raise SystemExit(
            f"The band kernel compiles to {roof}: it should spill nothing, fit twice on a "
            "multiprocessor, and have 11 instructions per score at most and no fence."
        )


def band(gear: str, dimension: int, tile: band_bits.BandTile, **flags: bool) -> Any:
    """The kernel of the first pass in a tile; flags are its constants."""
    low = POINTERS[gear]
    sizes = {"BM": tile.queries, "BN": tile.rows, "BK": tile.depth, "GROUP": tile.group}
    constants = {"DEPTH": dimension, "WHOLE": gear == "int8", "BEST": False, "COUNT_ABOVE": True}
    constants |= {"COUNT_FLOOR": False, "BINS": tile.bins, **sizes, **flags}
    types = {"query_ptr": low, "row_ptr": low}
    types |= {"out_ptr": "*fp32"} if constants["BEST"] else {}
    kernel = band_bits._band_kernel
    return compiled(kernel, constants, types, warps=tile.warps, stages=tile.stages)


def _others(quick: bool) -> Iterator[tuple[str, Any]]:
    """The other kernels, at D = 768 and k = 64; one of each kind in a quick run."""
    for gear in list(POINTERS)[: 1 if quick else None]:
        constants = {"GEAR": gear, "ROWS": band_rows.ROWS, "CHUNK": band_rows.CHUNK}
        types = {"low_ptr": POINTERS[gear]}
        kernel = band_rows._round_rows
        yield f"round rows {gear}", compiled(kernel, constants, types, warps=4, stages=3)
    constants = {"ROUNDING": 2.0**-22, "UNDERFLOW": 2.0**-125, "EACH": edges.EACH}
    yield "edges", compiled(edges._write_edges, constants, {}, warps=4, stages=3)
    constants = {"BINS": 4, "ROWS": band_rows.LISTED, "CHUNK": 256}
    yield "list rows", compiled(band_rows._list_rows, constants, {}, warps=4, stages=3)
    for places, pairs in ((512, 8), (1024, 4), (4096, 1))[: 1 if quick else None]:
        folds = places.bit_length() - 1
        constants = {"FOLDS": folds, "PAIRS": pairs, "SPLIT": False}
        binary = compiled(band_exact._score_rows, constants, {}, warps=4, stages=3)
        yield f"score rows, {pairs} of {places} places", binary
    constants = {"STEPS": 6, "CHUNK": 256}
    yield "admit rows", compiled(band_exact._admit_rows, constants, {}, warps=4, stages=3)


def _row(cells: list[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(": ")[0])
    parser.add_argument("--quick", action="store_true", help="one kernel of each kind")
    quick = parser.parse_args().quick
    print(f"# The GPU kernels compiled for sm_90 by Triton {triton.__version__}\n")
    print("Stack holds what is spilled: 0 is none. Made by compile_sm90.py, without a GPU.\n")
    head = ["registers", "stack", "shared", "wgmma", "cp.async", "ftz"]
    print("Blocks fit on a multiprocessor at a time; share is how much of its matrix rate the")
    print("kernel can reach at most, by the model of roof.py.\n")
    roof = ["blocks", "after, a score", "GPU fences", "share"]
    _row(["band words", "counts", "D", "tile", "warps", "stages", *head, *roof])
    _row(["---"] * 16)
    few = slice(1 if quick else None)
    for gear, (above, floor) in itertools.product(list(POINTERS)[few], COUNTED[few]):
        dimensions = (768,) if floor or not above else (384, 768)
        whole = gear == "int8"
        tiles = band_bits.tiles_for(whole=whole, count_floor=floor)
        for dimension, tile in itertools.product(dimensions, tiles[few]):
            flags = {"COUNT_ABOVE": above, "COUNT_FLOOR": floor}
            told = "floor, ceiling" if floor else "ceiling" if above else "none"
            cells = [gear, told, str(dimension), f"{tile.queries} x {tile.rows} x {tile.depth}"]
            cut = Tile(tile.queries, tile.rows, tile.depth, dimension, tile.warps)
            figures = _usage(band(gear, dimension, tile, **flags), cut)
            _row([*cells, str(tile.warps), str(tile.stages), *figures])
    print()
    _row(["other", *head])
    _row(["---"] * 7)
    for name, binary in _others(quick):
        _row([name, *_usage(binary)])
    check()
    if quick:
        print("\nA quick run: everything ran, and most kernels were left out.")


if __name__ == "__main__":
    main()
