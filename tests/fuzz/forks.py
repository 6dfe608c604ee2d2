"""An action in a fork of this process: what it prints, how it ends, and that it does end.

Python and torch are imported once, so an input costs what its handling costs, and one that hangs or
crashes the process takes nothing else with it.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

HANGS_S = 60.0  # for an action of about a second, on a busy machine
BUDGET_S = float(os.environ.get("WHET_FUZZ_S", "75"))  # for each kind of input
SEED = int(os.environ.get("WHET_FUZZ_SEED", "0"))  # the first one


@dataclass(frozen=True)
class Ended:
    """How an action ended: its exit code (negative: a signal), and what it printed."""

    code: int
    printed: str

    @property
    def in_words(self) -> bool:
        """It came to an end of its own without a traceback."""
        return self.code >= 0 and "Traceback (most recent call last)" not in self.printed


def in_fork(action: Callable[[], int | None]) -> Ended:
    """Do an action in a fork of this process, which may not be one with threads of its own."""
    with tempfile.TemporaryFile() as file:
        pid = os.fork()
        if pid == 0:
            _child(action, file.fileno())
        code = _wait(pid)
        file.seek(0)
        return Ended(code, file.read().decode("utf-8", "replace"))


def _child(action: Callable[[], int | None], output: int) -> None:
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        with (  # not the streams that pytest captures
            open(1, "w", encoding="utf-8", closefd=False) as sys.stdout,
            open(2, "w", encoding="utf-8", closefd=False) as sys.stderr,
        ):
            code = _told(action)
    finally:
        os._exit(code)


def _told(action: Callable[[], int | None]) -> int:
    try:
        return action() or 0
    except BaseException:
        traceback.print_exc()
        return 1


def _wait(pid: int) -> int:
    end = time.monotonic() + HANGS_S
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL


def seeds(title: str) -> Iterator[tuple[int, Random]]:
    """Seeds one after another, each with its generator, until the time for one kind is over; then
    says how many there were.
    """
    start, seed = time.monotonic(), SEED
    while time.monotonic() - start < BUDGET_S:
        yield seed, Random(f"{title} {seed}")
        seed += 1
    print(f"{title}: {seed - SEED} inputs in {time.monotonic() - start:.0f} s")
