"""What the machine can do at most, and its kernels compiled before anything is timed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import timing
import torch
from folders import COMPILED, HERE, ROOT
from stages import Here, LeftOut

PACKAGES = "torch triton transformers lightning numpy sentence-transformers faiss-gpu-cu12".split()
PACKAGES += "faiss-gpu deepspeed flash-attn hydra-core ir-measures".split()
MOST_COMPILERS = 16


def facts() -> dict[str, Any]:
    """The device, its driver, and the versions of what computes: what every line of a run has."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    smi = _smi("driver_version,memory.total,power.limit")
    return {
        "device": torch.cuda.get_device_name(0),
        "versions": {"python": sys.version.split()[0], "cuda": torch.version.cuda, **versions},
        "driver, memory, watts": smi,
        "cores": os.cpu_count(),
    }


def _smi(query: str) -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", "--id=0"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def ceilings(here: Here) -> None:
    """The rates that everything else is a share of: products, memory, the bus."""
    here.figure("clocks and power", _smi("clocks.sm,clocks.max.sm,clocks.mem,power.draw"))
    size = 128 if here.rehearsed else 8192
    flops = 2 * size**3
    left = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    here.figure("bf16, TFLOP/s", flops / timing.on_device(lambda: left @ left, here) / 1e12)
    whole = torch.randint(-127, 127, (size, size), device="cuda", dtype=torch.int8)
    try:
        seconds = timing.on_device(lambda: torch._int_mm(whole, whole), here)
        here.figure("int8, TOP/s", flops / seconds / 1e12)
    except (RuntimeError, NotImplementedError) as error:
        here.note(f"no int8 products: {str(error)[:80]}")
    wide = left.float()
    here.figure("fp32, TFLOP/s", flops / timing.on_device(lambda: wide @ wide, here) / 1e12)
    count = 1 << (12 if here.rehearsed else 30)
    source = torch.zeros(count, device="cuda", dtype=torch.int32)
    target = torch.empty_like(source)
    seconds = timing.on_device(lambda: target.copy_(source), here)
    here.figure("copy on the device, TB/s", 2 * 4 * count / seconds / 1e12)
    _bus(here)


def _bus(here: Here) -> None:
    count = 1 << (12 if here.rehearsed else 28)
    host = torch.zeros(count, dtype=torch.int32)
    pinned = host.pin_memory()
    seconds = timing.by_clock(lambda: host.to("cuda"), here)
    here.figure("bus from pageable memory, GB/s", 4 * count / seconds / 1e9)
    seconds = timing.by_clock(lambda: pinned.to("cuda", non_blocking=True), here)
    here.figure("bus from pinned memory, GB/s", 4 * count / seconds / 1e9)
    there = pinned.to("cuda")
    seconds = timing.by_clock(lambda: there.cpu(), here)
    here.figure("bus to pageable memory, GB/s", 4 * count / seconds / 1e9)


def compile_kernels(here: Here) -> None:
    """Compile in as many processes as there are cores, so that no later stage waits for it."""
    if here.rehearsed:
        raise LeftOut("nothing is compiled in Triton's interpreter")
    began = time.monotonic()
    count = min(MOST_COMPILERS, os.cpu_count() or 1)
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import machine; "
        "machine.compile_part(int(sys.argv[1]), int(sys.argv[2]))"
    )
    with (here.out / "compile.log").open("w") as log:
        parts = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(part), str(count)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
            for part in range(count)
        ]
        failed = sum(part.wait() != 0 for part in parts)
    if failed:
        here.wrong(f"{failed} of {count} processes failed: see compile.log")
    here.figure("processes", count)
    here.figure("seconds", time.monotonic() - began)
    here.figure("packed, MiB", pack_compiled(here.out) / 2**20)


def compile_part(part: int, count: int) -> None:
    """One process's share of the calls that bring every kernel into Triton's cache."""
    for number, (name, call) in enumerate(_calls()):
        if number % count == part:
            call()
            torch.cuda.synchronize()
            print("compiled", name, flush=True)


def _calls() -> Iterator[tuple[str, timing.Run]]:
    import losses
    import mining
    from mining import GEARS, WINDOWS, Shape

    for dimension in (768, 384, 1024):
        for gear in GEARS:
            for ceiling, floor in WINDOWS:

                def search(
                    at: tuple[int, str, bool, bool] = (dimension, gear, ceiling, floor),
                ) -> None:
                    given = mining.problem(Shape(512, 4096, at[0], 64), ceiling=at[2], floor=at[3])
                    mining.found_on_gpu(given, at[1])

                yield f"search {dimension} {gear} {ceiling} {floor}", search
    for products in (torch.bfloat16, torch.float32):
        for symmetric in (False, True):

            def loss(of: torch.dtype = products, both: bool = symmetric) -> None:
                losses.once(losses.vectors(4096, 768), of, symmetric=both)

            yield f"loss {products} {symmetric}", loss


def pack_compiled(out: Path) -> int:
    """Triton's cache as OUT/triton.tgz, for `.gpu/triton.tgz` of the next machine; its bytes."""
    cache = Path(os.environ["TRITON_CACHE_DIR"])
    target = out / "triton.tgz"
    with tarfile.open(target, "w:gz") as file:
        for path in sorted(cache.rglob("*")):
            if path.suffix in (".json", ".cubin"):
                file.add(path, path.relative_to(cache))
    return target.stat().st_size


def unpack_compiled(packed: Path = COMPILED) -> bool:
    """Put what an earlier machine compiled into Triton's cache, if it was carried here."""
    if not packed.exists():
        return False
    cache = Path(os.environ["TRITON_CACHE_DIR"])
    cache.mkdir(parents=True, exist_ok=True)
    with tarfile.open(packed) as file:
        file.extractall(cache, filter="data")
    # Triton lists the files of a kernel by their whole paths, which were another machine's.
    for listed in cache.rglob("__grp__*.json"):
        group = json.loads(listed.read_text())
        names = group.get("child_paths", {})
        group["child_paths"] = {
            name: str(listed.parent / name) for name in names if (listed.parent / name).exists()
        }
        listed.write_text(json.dumps(group))
    return True
