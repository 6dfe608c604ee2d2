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
from html import escape
from importlib import import_module
from typing import TextIO

from whet.printable import printable_lines
from whet.processes.world import world

LINE_EVERY_S = 30.0
CELL_EVERY_S = 0.2


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
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=done, rate="", figures="")

        def advance(count: int, **figures: float) -> None:
            # What a resume found done took no time here, and would make the rate too high.
            worked = bar.tasks[0].completed + count - done
            rate = f"{worked / max(1e-9, time.monotonic() - start):,.0f} {unit}/s"
            bar.update(task, advance=count, rate=rate, figures=_spell(figures))

        yield advance


@contextmanager
def _cell(title: str, total: int, unit: str, done: int) -> Iterator[Callable[..., None]]:
    """A bar in the output of a cell; what is left of it is a line."""
    html = import_module("IPython.display")  # a notebook has it
    start = last = time.monotonic()
    now_done = done
    shown = html.display(html.HTML(escape(title)), display_id=True)

    def line(figures: str = "") -> str:
        rate = (now_done - done) / max(1e-9, time.monotonic() - start)
        left = f", {(total - now_done) / rate:,.0f} s left" if rate and now_done < total else ""
        count = f"{now_done:,} of {total:,} {unit}, {rate:,.1f} {unit}/s{left}"
        return escape(f"{title}: {count} {figures}".rstrip())

    def advance(count: int, **figures: float) -> None:
        nonlocal last, now_done
        now_done += count
        if time.monotonic() - last >= CELL_EVERY_S:
            last = time.monotonic()
            bar = f'<progress value="{now_done}" max="{total}"></progress> '
            shown.update(html.HTML(bar + line(_spell(figures))))

    try:
        yield advance
    finally:
        shown.update(html.HTML(line()))


@contextmanager
def _lines(title: str, total: int, unit: str, done: int) -> Iterator[Callable[..., None]]:
    start = last = time.monotonic()
    now_done, latest = done, ""

    def line() -> None:
        spent = max(1e-9, time.monotonic() - start)
        rate = (now_done - done) / spent
        left = (
            f"{(total - now_done) / rate:,.0f} s left"
            if rate and now_done < total
            else f"{spent:,.1f} s"
        )
        count = f"{now_done:,} of {total:,} {unit}"
        say(f"{title}: {count}, {rate:,.1f} {unit}/s, {left} {latest}".rstrip())

    def advance(count: int, **figures: float) -> None:
        nonlocal last, now_done, latest
        now_done += count
        latest = _spell(figures)
        if time.monotonic() - last >= LINE_EVERY_S and now_done < total:
            last = time.monotonic()
            line()

    yield advance
    if now_done > done:
        line()


def _spell(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
