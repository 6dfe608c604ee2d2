"""Ctrl-C and the signal that ends a process, counted: the first asks, the second insists."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

CTRL_C = (signal.SIGINT,)
ANY = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Takes the place of Python's KeyboardInterrupt while it listens.

    `first` is called when the user asks to stop, `again` at every later signal; both run between
    two instructions of the main thread and may raise. A loop may as well look at `received`.

    >>> import os
    >>> with Interrupts(lambda: print("stopping"), lambda: print("at once")) as interrupts:
    ...     os.kill(os.getpid(), signal.SIGINT)
    ...     os.kill(os.getpid(), signal.SIGTERM)
    stopping
    at once
    >>> [number.name for number in map(signal.Signals, interrupts.received)]
    ['SIGINT', 'SIGTERM']
    """

    def __init__(
        self,
        first: Callable[[], Any] | None = None,
        again: Callable[[], Any] | None = None,
        *,
        signals: tuple[signal.Signals, ...] = ANY,
    ) -> None:
        self.received: list[int] = []  # the numbers of the signals, in their order
        self._first, self._again = first, again
        self._signals = signals
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Begin, in the main thread: Python lets no other one set handlers."""
        self._before = {number: signal.signal(number, self._receive) for number in self._signals}

    def close(self) -> None:
        """Give the signals back to whoever had them; may be called twice."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __enter__(self) -> Interrupts:
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        action = self._first if len(self.received) == 1 else self._again
        if action is not None:
            action()
