"""The fused contrastive loss and the plain one, forward and backward: time and peak memory.

    python benchmarks/fused_infonce.py            # a CPU: up to 4,096 pairs; CUDA: 65,536
    python benchmarks/fused_infonce.py --pairs 1024 4096 --dims 768
    python benchmarks/fused_infonce.py --sweep    # CUDA: other block sizes of the kernels
    python benchmarks/fused_infonce.py --quick    # does it run?

Three ways take turns, so that all meet the same noise: `dense` (all similarities at once, torch's
autograd), `fused` (by tiles; Triton kernels on CUDA, torch elsewhere), and `floor`, the matrix
products of the fused one alone: forward, again for the backward, and one for each gradient. Ratios
are taken round by round. Peak memory is beyond the vectors and their gradients' own; on a CPU it
is that of a process of its own (Linux). Vectors are float32; on CUDA the fused products are in
bfloat16, as training has them. `dense` is left out where it would take over 20 GiB. Rows
go to records/fused_infonce.jsonl.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from kept import Records
from torch import Tensor
from torch.nn import functional as F

from whet_kernels.infonce.fused import (
    choose_loss_backend,
    fused_info_nce,
    info_nce_reference,
    slices_in_steps,
)

RECORDS = Records("fused_infonce")
TEMPERATURE = 0.05
PAIRS = {"cpu": [1024, 2048, 4096], "cuda": [4096, 16_384, 32_768, 65_536]}
ROUNDS = {"cpu": 5, "cuda": 20}
WARM_UP = {"cpu": 1, "cuda": 3}
DENSE_MATRICES = 6  # of B x C that the plain loss holds at its peak
DENSE_AT_MOST = 20 << 30  # bytes
FLOOR_TILE = {"cpu": (1024, 4096), "cuda": (8192, 8192)}
Vectors = tuple[Tensor, Tensor]


def main() -> None:
    """Measure each size, append to the records, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", help="documents are as many")
    parser.add_argument("--dims", type=int, nargs="+", default=[768])
    parser.add_argument("--symmetric", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    tiny.add_option(parser)
    parser.add_argument("--peak", nargs=3, metavar=("WAY", "PAIRS", "DIMS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.peak:
        way, pairs, dims = options.peak
        print(cpu_peak(WAYS[way], int(pairs), int(dims), options.symmetric))
    elif options.quick:
        quick(device)
    elif options.sweep:
        if device == "cpu":
            raise SystemExit("--sweep needs a CUDA GPU, and torch sees none here.")
        sweep(options.dims[0])
    else:
        for dims in options.dims:
            for pairs in options.pairs or PAIRS[device]:
                kept(measure(pairs, dims, options.symmetric, device))


def quick(device: str) -> None:
    """A small size, both ways."""
    if device == "cpu":
        tiny.left_out("--sweep and the kernels", "need a CUDA GPU")
    with tiny.place(RECORDS):
        kept(measure(256, 64, True, device))
        if device == "cuda":
            sweep(64, pairs=1024)


def kept(row: dict[str, Any]) -> None:
    """Append a row to the records and show it."""
    RECORDS.keep(row)
    print(shown(row), flush=True)


def vectors(pairs: int, dims: int, device: str) -> Vectors:
    """Unit vectors, float32; every document close to its query, as in training."""
    torch.manual_seed(0)
    query = F.normalize(torch.randn(pairs, dims, device=device), dim=1)
    doc = F.normalize(query + torch.randn(pairs, dims, device=device) / dims**0.5, dim=1)
    return query.requires_grad_(), doc.requires_grad_()


def products(query: Tensor) -> torch.dtype:
    """The type in which training multiplies vectors there."""
    return torch.bfloat16 if query.is_cuda else torch.float32


def targets(pairs: int, device: torch.device) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Each pair's own document, and one more known positive."""
    column = torch.arange(pairs, device=device)
    known = torch.stack([column, (column * 7 + 1) % pairs], 1).ravel()
    return column, (torch.arange(pairs + 1, device=device) * 2, known)


def dense(query: Tensor, doc: Tensor, symmetric: bool) -> None:
    """All similarities at once."""
    column, known = targets(len(query), query.device)
    info_nce_reference(
        query, doc, column, known, temperature=TEMPERATURE, symmetric=symmetric
    ).backward()


def fused(query: Tensor, doc: Tensor, symmetric: bool) -> None:
    """By tiles."""
    column, known = targets(len(query), query.device)
    fused_info_nce(
        query,
        doc,
        column,
        known,
        temperature=TEMPERATURE,
        symmetric=symmetric,
        products=products(query),
    ).backward()


@torch.no_grad()
def floor(query: Tensor, doc: Tensor, symmetric: bool) -> None:
    """The matrix products of `fused` and nothing else, after its one rounding of the vectors."""
    query, doc = query.to(products(query)), doc.to(products(query))
    tile = FLOOR_TILE[query.device.type]
    for rows in slices_in_steps(len(query), tile[0]):
        for columns in slices_in_steps(len(doc), tile[1]):
            for _ in range(3 if symmetric else 2):
                weight = query[rows] @ doc[columns].T
            torch.mm(weight, doc[columns])
            torch.mm(weight.T, query[rows])


WAYS: dict[str, Callable[[Tensor, Tensor, bool], None]] = {
    "dense": dense,
    "fused": fused,
    "floor": floor,
}


def measure(pairs: int, dims: int, symmetric: bool, device: str) -> dict[str, Any]:
    """One size: milliseconds and peak of each way, and the ratios to the fused one."""
    data = vectors(pairs, dims, device)
    fits = DENSE_MATRICES * pairs**2 * data[0].element_size() <= DENSE_AT_MOST
    ways = {name: way for name, way in WAYS.items() if fits or name != "dense"}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(WARM_UP[device] + ROUNDS[device]):
        for name, way in ways.items():
            took = timed(way, data, symmetric)
            if turn >= WARM_UP[device]:
                seconds[name].append(took)
    ratios = {
        f"{name}_over_fused": spread(np.divide(seconds[name], seconds["fused"]))
        for name in ways
        if name != "fused"
    }
    peaks = {name: peak(name, data, symmetric) for name in ways if name != "floor"}
    return {
        **circumstances(data[0]),
        "pairs": pairs,
        "documents": pairs,
        "dims": dims,
        "symmetric": symmetric,
        "ms": {name: spread(np.multiply(times, 1000)) for name, times in seconds.items()},
        **ratios,
        "peak_mib": peaks,
    }


def timed(way: Callable[..., None], data: Vectors, symmetric: bool) -> float:
    """Seconds of one forward and backward."""
    for vector in data:
        vector.grad = None
    synchronize(data[0])
    begin = time.perf_counter()
    way(*data, symmetric)
    synchronize(data[0])
    return time.perf_counter() - begin


def synchronize(vector: Tensor) -> None:
    """Wait for what was launched."""
    if vector.is_cuda:
        torch.cuda.synchronize()


def peak(name: str, data: Vectors, symmetric: bool) -> int:
    """MiB at the peak of one forward and backward, beyond the vectors."""
    pairs, dims = data[0].shape
    if not data[0].is_cuda:
        command = [sys.executable, __file__, "--peak", name, str(pairs), str(dims)]
        command += ["--symmetric"] if symmetric else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout)
    for vector in data:
        vector.grad = None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    WAYS[name](*data, symmetric)
    return (torch.cuda.max_memory_allocated() - before) >> 20


def cpu_peak(way: Callable[..., None], pairs: int, dims: int, symmetric: bool) -> int:
    """MiB by which this process grows."""
    way(*vectors(256, dims, "cpu"), symmetric)  # libraries and their buffers
    data = vectors(pairs, dims, "cpu")
    before = resident_peak()
    way(*data, symmetric)
    return resident_peak() - before


def resident_peak() -> int:
    """MiB; not ru_maxrss, which a process takes over from the one that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) // 1024


def spread(values: Any) -> dict[str, float]:
    """The 20th, 50th and 80th percentile."""
    low, middle, high = np.percentile(values, [20, 50, 80])
    return {"p20": round(low, 4), "p50": round(middle, 4), "p80": round(high, 4)}


def circumstances(query: Tensor) -> dict[str, Any]:
    """What a figure depends on."""
    backend, _ = choose_loss_backend("auto", query.device, products(query))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    ).stdout.strip()
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit,
        "device": torch.cuda.get_device_name() if query.is_cuda else platform.machine(),
        "torch": torch.__version__,
        "backend": backend,
        "dtype": str(query.dtype).removeprefix("torch."),
        "products": str(products(query)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
    if backend == "triton":
        import triton

        facts["triton"] = triton.__version__
    return facts


def shown(row: dict[str, Any]) -> str:
    """One line of the table."""
    times = "  ".join(f"{name} {part['p50']:,.1f} ms" for name, part in row["ms"].items())
    ratios = "  ".join(
        f"{key.removesuffix('_over_fused')}/fused {row[key]['p50']:.2f}"
        for key in ("dense_over_fused", "floor_over_fused")
        if key in row
    )
    peaks = "  ".join(f"{name} {mib:,} MiB" for name, mib in row["peak_mib"].items())
    return f"{row['pairs']:>6,} x {row['dims']}: {times} | {ratios} | {peaks}"


def sweep(dims: int, pairs: int = 16_384) -> None:
    """CUDA: both kernels with other blocks, to choose those of the kernels' file by."""
    from whet_kernels.infonce import triton_kernels as kernels
    from whet_kernels.infonce.mask import mask_cells

    query, doc = (vector.detach().bfloat16() for vector in vectors(pairs, dims, "cuda"))
    column, known = targets(pairs, query.device)
    cells, level = mask_cells(column, known, pairs), torch.zeros(pairs, device="cuda")
    for blocks in (
        kernels.Blocks(rows, columns, 64, warps, stages)
        for rows, columns, warps in ((128, 256, 8), (128, 128, 8), (128, 128, 4), (64, 128, 4))
        for stages in (2, 3, 4)
    ):
        kernels.NEGATIVES[2] = kernels.WEIGHTS[2] = blocks
        for name, call in {
            "negatives": lambda: kernels.negatives(query, doc, cells, 20.0, (0, 0)),
            "weights": lambda: kernels.weights(query[:8192], doc[:8192], level[:8192], None, 20.0),
        }.items():
            times = [clocked(call) for _ in range(13)][3:]
            print(name, tuple(blocks), f"{np.median(times) * 1000:.3f} ms", flush=True)


def clocked(call: Callable[[], Tensor]) -> float:
    """Seconds of one call on CUDA."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
