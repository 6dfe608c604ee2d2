"""Notice a process of the job that hangs (stopped, swapped out, cut off) and say which.

Each process counts up a number in a small store every few seconds; each looks at the others'. One
whose number stands still for too long is named, and the process that noticed ends itself: whoever
launched the job sees it die and starts all of them again from the last checkpoint. Without this a
collective would wait for the silent one until torch's timeout, which is a day here.
"""

from __future__ import annotations

import datetime
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from whet.processes.world import from_leader, gathered, world

HUNG = (
    75  # exit code of a process that gives up on another; sysexits.h calls it a temporary failure
)
LEFT = "left"  # in the store: how many processes stopped by an error
BEATS = 8  # a process is heard so many times before it could count as silent


@contextmanager
def watched(timeout_s: float, give_up: Callable[[str], None] | None = None) -> Iterator[None]:
    """Watch the job's processes while the block runs; every process must enter it.

    `give_up(message)` is called in a thread when one has been silent for `timeout_s`; by default it
    prints the message and ends this process with code 75. 0 watches nothing.
    """
    if world().size == 1 or timeout_s == 0:
        yield
        return
    watch = _Watch(_store(timeout_s), timeout_s, give_up or _end)
    threads = [threading.Thread(target=do, daemon=True) for do in (watch.run, watch.guard)]
    for thread in threads:
        thread.start()
    try:
        yield
    except BaseException:
        # Perhaps of this process alone: the others may be waiting for it elsewhere.
        watch.leave()
        raise
    gathered(None)  # nobody may look silent to another that is still at work
    watch.done.set()
    for thread in threads:
        thread.join(timeout=timeout_s)
    gathered(None)  # the leader's store goes last


class _Watch:
    def __init__(self, store: Any, timeout_s: float, give_up: Callable[[str], None]) -> None:
        self.store = store
        self.timeout_s = timeout_s
        self.give_up = give_up
        self.done = threading.Event()
        self.names = gathered(f"process {world().rank} ({socket.gethostname()}, {os.getpid()})")
        self.rank, self.size = world().rank, world().size
        self.looked = time.monotonic()

    def run(self) -> None:
        """Beat and look until the block is over or somebody is silent."""
        heard = {rank: (0, time.monotonic()) for rank in range(self.size) if rank != self.rank}
        while not self.done.wait(self.timeout_s / BEATS):
            silent = self._look(heard)
            self.looked = time.monotonic()
            for rank in silent:
                if not self.done.is_set():
                    self.give_up(self._message(rank))
                return

    def guard(self) -> None:
        """A stopped leader's store neither answers nor refuses: then looking takes for ever."""
        while self.rank and not self.done.wait(self.timeout_s / BEATS):
            if time.monotonic() - self.looked > self.timeout_s:
                self.give_up(self._message(0))
                return

    def leave(self) -> None:
        """Stop in the midst of things; the leader stays a moment for those who stop with it."""
        self.done.set()
        with suppress(Exception):  # the leader, who keeps the store, is gone
            self.store.add(LEFT, 1)
            until = time.monotonic() + 2 * self.timeout_s / BEATS
            while self.rank == 0 and time.monotonic() < until:
                if self.store.add(LEFT, 0) == self.size:
                    return
                time.sleep(0.05)

    def _look(self, heard: dict[int, tuple[int, float]]) -> list[int]:
        """The processes that have been silent for too long."""
        try:
            self.store.add(str(self.rank), 1)
            counts = {rank: self.store.add(str(rank), 0) for rank in heard}
        except Exception:  # the leader keeps the store
            return [] if self.done.is_set() or self.rank == 0 else [0]
        now = time.monotonic()
        for rank, count in counts.items():
            if count != heard[rank][0]:
                heard[rank] = (count, now)
        return [rank for rank, (_, since) in heard.items() if now - since > self.timeout_s]

    def _message(self, rank: int) -> str:
        return (
            f"{self.names[rank]} has not answered for {self.timeout_s:.0f} s: it hangs, or its "
            "machine is cut off. Ending, so that the job goes on from its last checkpoint "
            "(launch.hang_timeout_s sets the time)."
        )


def _store(timeout_s: float) -> Any:
    """A key-value store that the leader keeps, apart from the one torch's collectives wait on."""
    from torch.distributed import TCPStore

    wait = datetime.timedelta(seconds=timeout_s)
    own: list[Any] = []

    def serve() -> tuple[str, int]:
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        own.append(TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=wait))
        return host, own[0].port

    host, port = from_leader(serve)
    return own[0] if own else TCPStore(host, port, is_master=False, timeout=wait)


def _end(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(HUNG)
