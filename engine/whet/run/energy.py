"""Energy, where a counter of the hardware can be read: of the CPU packages (Linux powercap, RAPL)
and of GPUs (NVML). It counts the whole device, others' work on it included.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules since the last call, by device; empty where nothing can be read."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self.powercap = powercap
        self.last = self._read()

    def joules(self) -> dict[str, float]:
        """Since the last call, or since the meter was made."""
        now, before = self._read(), self.last
        self.last = now
        spent = {}
        for name, (value, wraps_at) in now.items():
            if name in before:
                since = value - before[name][0]
                spent[name] = since if since >= 0 else since + wraps_at
        return spent

    def _read(self) -> dict[str, tuple[float, float]]:
        """Of each device its counter, and where that begins again at 0, in joules."""
        return {**_packages(self.powercap), **_gpus()}


def _packages(powercap: Path) -> dict[str, tuple[float, float]]:
    counters = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        if zone.name.count(":") != 1:  # a part of a package: counted in it
            continue
        with suppress(OSError, ValueError):  # only the administrator may read it on most machines
            value = int((zone / "energy_uj").read_text())
            most = int((zone / "max_energy_range_uj").read_text())
            counters[f"CPU {zone.name.partition(':')[2]}"] = value / 1e6, most / 1e6
    return counters


def _gpus() -> dict[str, tuple[float, float]]:
    """All GPUs that NVML shows (nvmlDeviceGetTotalEnergyConsumption, millijoules)."""
    counters: dict[str, tuple[float, float]] = {}
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # not installed, no driver, or one that does not answer: nothing is counted
        return counters
    try:
        for number in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):  # an old GPU has no counter
                device = pynvml.nvmlDeviceGetHandleByIndex(number)
                value = pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
                # The counter has 64 bits: 2^64 mJ before it begins again.
                counters[f"GPU {number}"] = value / 1e3, 2.0**64 / 1e3
    finally:
        pynvml.nvmlShutdown()
    return counters
