"""Compile the fused loss's Triton kernels for an H100 (sm_90), no GPU needed: registers, spills and
tensor-core instructions of every configuration.

    python benchmarks/fused_infonce_sm90.py
    python benchmarks/fused_infonce_sm90.py --quick    # one type and width: does it run?

Exits with 1 if a kernel spills or does not use wgmma.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tiny

os.environ.pop("TRITON_INTERPRET", None)  # read when triton is imported
if tiny.missing("triton"):
    sys.exit()

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from whet_kernels.infonce import triton_kernels as kernels

TYPES = {"bf16": 2, "fp16": 2, "fp32": 4}
DIMS = (384, 768, 1024, 4096)
COMMON = {"row_ptr": "*{0}", "walked_ptr": "*{0}", "rows": "i32", "walked": "i32", "scale": "fp32"}
NEGATIVES = {
    "out_ptr": "*fp32",
    "masked_ptr": "*i32",
    "cursor_ptr": "*i32",
    "end_ptr": "*i32",
    "most_ptr": "*i32",
    "blocks_a_split": "i32",
}
WEIGHTS = {"level_r_ptr": "*fp32", "level_w_ptr": "*fp32", "out_ptr": "*{0}"}


def main() -> None:
    """One line a kernel, type, width and variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tiny.add_option(parser)
    quick = parser.parse_args().quick
    print(f"Triton {triton.__version__}, {GPUTarget('cuda', 90, 32)}")
    sound = True
    for name, dims in itertools.product(["bf16"] if quick else TYPES, DIMS[:1] if quick else DIMS):
        size = TYPES[name]
        sound &= report("negatives", name, dims, kernels.NEGATIVES[size], {})
        for both in (False, True):
            sound &= report("weights", name, dims, kernels.WEIGHTS[size], {"BOTH": both})
    if quick:
        print(tiny.DONE)
    sys.exit(not sound)


def report(
    kind: str, name: str, dims: int, blocks: kernels.Blocks, constants: dict[str, Any]
) -> bool:
    """Compile, print what ptxas says; whether there is no spill and wgmma is used."""
    facts = compiled(kind, name, dims, blocks, constants)
    print(f"{kind:9} {name} D={dims:<4} {constants.get('BOTH', '')!s:5} {tuple(blocks)} {facts}")
    return facts["spill_bytes"] == 0 and facts["wgmma"] > 0


def compiled(
    kind: str, name: str, dims: int, blocks: kernels.Blocks, constants: dict[str, Any]
) -> dict[str, int]:
    """Registers a thread, bytes spilled, shared memory, and wgmma instructions."""
    kernel = getattr(kernels, f"_{kind}_kernel")
    types = {**COMMON, **(NEGATIVES if kind == "negatives" else WEIGHTS)}
    settings = kernels.settings(blocks, dims, TYPES[name])
    options = {key: settings.pop(key) for key in ("num_warps", "num_stages")}
    constants = {**constants, **settings}
    signature = {arg: types.get(arg, "constexpr").format(name) for arg in kernel.arg_names}
    pointers = [i for i, arg in enumerate(kernel.arg_names) if arg.endswith("_ptr")]
    source = ASTSource(
        kernel, signature, constants, {(i,): [["tt.divisibility", 16]] for i in pointers}
    )
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return {
        **assembled(binary.asm["ptx"]),
        "shared": binary.metadata.shared,
        "wgmma": binary.asm["ptx"].count("wgmma.mma_async"),
    }


def assembled(ptx: str) -> dict[str, int]:
    """What `ptxas -v` says of a kernel."""
    ptxas = get_ptxas(90).path
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        done = subprocess.run(
            [ptxas, "-v", "--gpu-name=sm_90a", path, "-o", path.with_suffix(".cubin")],
            capture_output=True,
            text=True,
            check=True,
        )
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    registers = re.search(r"Used (\d+) registers", done.stderr)
    assert spills and registers, done.stderr
    return {"registers": int(registers[1]), "spill_bytes": int(spills[1]) + int(spills[2])}


if __name__ == "__main__":
    main()
