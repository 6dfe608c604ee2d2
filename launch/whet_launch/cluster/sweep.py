"""`--multirun` with `launch=ray`: the runs of a sweep share the cluster, as many at once as fit."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from typing import Any

from whet.config import FitConfig
from whet.processes.interrupts import CTRL_C, Interrupts
from whet.progress import say
from whet_launch.cluster.cluster import connected, wants_gpu
from whet_launch.options.words import changed_options

POLL_S = 0.3


@dataclass
class _Runs:
    """The runs that go on now, and whether the user stopped them."""

    going: list[subprocess.Popen[str]]
    stopped: bool = False

    def stop(self) -> None:
        """All save and end, and no other begins; the second time at once."""
        self.stopped = True
        for process in self.going:
            process.send_signal(signal.SIGINT)


def run_together(configs: list[FitConfig]) -> list[int]:
    """Do every run; their exit codes. Each speaks with its number before the line."""
    with connected(configs[0].launch) as ray:
        slots = _slots(ray, configs[0])
        address = ray.get_runtime_context().gcs_address
        say(f"{len(configs)} runs, {min(slots, len(configs))} at once, on the cluster {address}.")
        waiting: queue.SimpleQueue[tuple[int, FitConfig]] = queue.SimpleQueue()
        for number, config in enumerate(configs):
            launch = replace(config.launch, address=address)
            waiting.put((number, replace(config, launch=launch)))
        # A run that Ctrl-C kept from starting counts as interrupted.
        runs, codes = _Runs([]), [signal.SIGINT + 128] * len(configs)
        threads = [
            threading.Thread(target=_work, args=(waiting, runs, codes), daemon=True)
            for _ in range(slots)
        ]
        with Interrupts(runs.stop, runs.stop, signals=CTRL_C):
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                threads[0].join(POLL_S)
    return codes


def _slots(ray: Any, config: FitConfig) -> int:
    """How many runs the cluster has room for at once."""
    kind = "GPU" if wants_gpu(ray, config) else "CPU"
    return max(1, int(ray.cluster_resources().get(kind, 0)) // config.launch.num_workers)


def _work(waiting: queue.SimpleQueue[tuple[int, FitConfig]], runs: _Runs, codes: list[int]) -> None:
    """Take runs until none is left."""
    while not runs.stopped:
        try:
            number, config = waiting.get_nowait()
        except queue.Empty:
            return
        process = subprocess.Popen(
            [sys.executable, "-m", "whet_launch", "fit", *changed_options(config, {})],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )
        runs.going.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            say(f"{number}: {line.rstrip()}")
        code = process.wait()
        runs.going.remove(process)
        codes[number] = code if code >= 0 else 128 - code
