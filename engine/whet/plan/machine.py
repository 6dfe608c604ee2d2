"""What this machine is and how fast its parts are: device, memory, matrix product, copies, disk."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from whet.processes.host import host_bytes

PRODUCT = 1024  # side of the matrices multiplied
COPIED = 1 << 26  # bytes copied
WRITTEN = 1 << 25  # bytes written to disk
SHARE_USABLE = 0.95  # of a device's memory; drivers and fragments take the rest


@dataclass(frozen=True)
class Machine:
    """The device a process trains on, and the computer it is in; bytes and seconds."""

    device: str  # as the price list names it, "cpu" without a GPU
    device_bytes: int
    host_bytes: int
    flops: float  # float32 multiply-adds count two
    copy_bytes_s: float
    disk_bytes_s: float

    @property
    def has_gpu(self) -> bool:
        """Whether the device has memory of its own."""
        return self.device != "cpu"


def this_machine(device: torch.device, folder: Path) -> Machine:
    """Measure it, in about a second; the disk is that of `folder`."""
    host = host_bytes()
    name, own = "cpu", host
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        name, own = facts.name, facts.total_memory
    left = torch.randn(PRODUCT, PRODUCT, device=device)
    numbers = torch.zeros(COPIED // 4, device=device)
    other = torch.zeros_like(numbers)
    return Machine(
        device=name,
        device_bytes=int(own * SHARE_USABLE),
        host_bytes=int(host * SHARE_USABLE),
        flops=2 * PRODUCT**3 / seconds_of(lambda: left @ left, device),
        # Twice: a copy reads and writes.
        copy_bytes_s=2 * COPIED / seconds_of(lambda: other.copy_(numbers), device),
        disk_bytes_s=disk_bytes_s(folder),
    )


def seconds_of(action: Callable[[], object], device: torch.device, rounds: int = 3) -> float:
    """Seconds of the fastest of some rounds, after one that does not count."""
    action()
    rounds_s = []
    for _ in range(rounds):
        wait_for(device)
        start = time.perf_counter()
        action()
        wait_for(device)
        rounds_s.append(time.perf_counter() - start)
    return max(1e-9, min(rounds_s))


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def held_bytes(device: torch.device) -> int:
    """Memory this process holds now: on a GPU in tensors, else what is resident."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _of_status("VmRSS")


def peak_bytes(device: torch.device) -> int:
    """The most it held since it began, or since `forget_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _of_status("VmHWM")


def forget_peak(device: torch.device) -> None:
    """From now on peaks are new ones, where the system lets a process say so."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _of_status(name: str) -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) << 10
    return 0


def disk_bytes_s(folder: Path) -> float:
    """Bytes per second written to a folder and known to be on its disk."""
    block = os.urandom(WRITTEN)
    with tempfile.TemporaryFile(dir=folder) as file:  # without a name: nothing stays of it
        start = time.perf_counter()
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return WRITTEN / max(1e-9, time.perf_counter() - start)
