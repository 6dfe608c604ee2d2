"""How a server is ended: by Ctrl-C, by SIGTERM, by a terminal that closes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM, and SIGHUP unless it is ignored (nohup), are Ctrl-C to the block."""
    handlers: dict[signal.Signals, Any] = {
        signal.SIGTERM: signal.default_int_handler,
        signal.SIGHUP: lambda number, frame: signal.raise_signal(
            signal.SIGTERM
        ),  # uvicorn knows it
    }
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
