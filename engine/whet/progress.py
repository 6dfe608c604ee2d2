"""Long work shows a bar with rate and time left; where nobody watches a terminal, a plain line now
and then.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from typing import TextIO

from whet.printable import printable_lines
from whet.processes.world import world

LINE_EVERY_S = 30.0
CELL_EVERY_S = 0.2
ReportProgress = Callable[[str, int, int], None]  # phase, done, total


def say(text: str) -> None:
    """Tell the user one thing, on stderr, so that stdout stays for results; a notebook shows both,
    and stderr as if it were a fault. Of several processes the leader speaks.
    """
    if world().leader:
        stream = sys.stdout if in_notebook() else sys.stderr
        print(printable_lines(text), file=stream, flush=True)


def in_notebook() -> bool:
    """Whether this code runs in a cell of Jupyter."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def paragraph(text: str, stream: TextIO | None = None) -> str:
    """A sentence or several, broken between words at the width of the terminal; as it is where
    `stream` (by default stderr) is none.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        return text
    return textwrap.fill(text, max(20, shutil.get_terminal_size().columns - 1))


@contextmanager
def track(title: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[..., None]]:
    """Show progress while the block runs; it calls `advance(count, **figures)`.

    `done` counts what an earlier, interrupted run already did.
    """
    if not world().leader:
        yield lambda count, **figures: None
    elif in_notebook():
        with _cell(title, total, unit, done) as advance:
            yield advance
    elif sys.stderr.isatty():
        with _bar(title, total, unit, done) as advance:
            yield advance
    else:
        with _lines(title, total, unit, done) as advance:
            yield advance


@contextmanager
def _bar(title: str, total: int, unit: str, done: int) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    work, now_done = _Work(title, total, unit, done), done
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=done, rate="", figures="")

        def advance(count: int, **figures: float) -> None:
            nonlocal now_done
            now_done += count
            bar.update(task, advance=count, rate=work.rate(now_done), figures=_spell(figures))

        yield advance


@contextmanager
def _cell(title: str, total: int, unit: str, done: int) -> Iterator[Callable[..., None]]:
    """A bar in the output of a cell; what is left of it is a line."""
    html = import_module("IPython.display")  # a notebook has it
    work = _Work(title, total, unit, done)
    last, now_done = work.start, done
    shown = html.display(html.HTML(escape(title)), display_id=True)

    def advance(count: int, **figures: float) -> None:
        nonlocal last, now_done
        now_done += count
        if time.monotonic() - last >= CELL_EVERY_S:
            last = time.monotonic()
            bar = f'<progress value="{now_done}" max="{total}"></progress> '
            shown.update(html.HTML(bar + escape(work.line(now_done, _spell(figures)))))

    try:
        yield advance
    finally:
        shown.update(html.HTML(escape(work.line(now_done))))


@contextmanager
def _lines(title: str, total: int, unit: str, done: int) -> Iterator[Callable[..., None]]:
    work = _Work(title, total, unit, done)
    last, now_done, latest = work.start, done, ""

    def advance(count: int, **figures: float) -> None:
        nonlocal last, now_done, latest
        now_done += count
        latest = _spell(figures)
        if time.monotonic() - last >= LINE_EVERY_S and now_done < total:
            last = time.monotonic()
            say(work.line(now_done, latest))

    yield advance
    if now_done > done:
        say(work.line(now_done, latest))


@dataclass(frozen=True)
class _Work:
    """What a line of progress is about. What an earlier run did (`done`) took no time here."""

    title: str
    total: int
    unit: str
    done: int
    start: float = field(default_factory=lambda: time.monotonic())

    def rate(self, now_done: int) -> str:
        """How fast it goes; nothing of a single thing, which is done or not."""
        worked = now_done - self.done
        return spelled_rate(worked, time.monotonic() - self.start, self.unit) * (self.total > 1)

    def line(self, now_done: int, figures: str = "") -> str:
        """So many of so many, how fast, and the seconds that are left or were spent."""
        spent, worked = time.monotonic() - self.start, now_done - self.done
        left = spent / worked * (self.total - now_done) if worked else 0.0
        seconds = f"{left:,.0f} s left" if left else f"{spent:,.1f} s"
        parts = [f"{now_done:,} of {self.total:,} {self.unit}", self.rate(now_done), seconds]
        return f"{self.title}: {', '.join(filter(None, parts))} {figures}".rstrip()


def spelled_rate(count: int, seconds: float, unit: str) -> str:
    """Per second; what is slower than that, per minute or hour.

    >>> spelled_rate(100, 8, "texts"), spelled_rate(2, 60, "pairs"), spelled_rate(1, 90, "tiles")
    ('12.5 texts/s', '2.0 pairs/min', '40.0 tiles/h')
    """
    per_second = count / max(1e-9, seconds)
    if per_second >= 1 or not count:
        return f"{per_second:,.1f} {unit}/s"
    if per_second * 60 >= 1:
        return f"{per_second * 60:,.1f} {unit}/min"
    return f"{per_second * 3600:,.1f} {unit}/h"


def _spell(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


def counted(title: str, total: int, report_progress: ReportProgress) -> Callable[[int], None]:
    """What is told how many more are done; it tells how many are by then."""
    done = 0

    def more_done(count: int) -> None:
        nonlocal done
        done += count
        report_progress(title, done, total)

    return more_done
