"""The one door to stdout: names and ids of others pass it escaped, whichever verb prints them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, cast

from whet.printable import printable_lines


class PrintableStream:
    """A text stream that takes any text and passes on what a terminal may be given: control and
    format characters escaped but for line ends and tabs, and so what its encoding cannot hold.

    All else (`buffer`, `fileno`, `isatty`, ...) is the stream's own.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, escaped; the number of characters taken."""
        encoding = self._stream.encoding or "utf-8"
        content = printable_lines(text).encode(encoding, "backslashreplace")
        self._stream.write(content.decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """While the block runs, `sys.stdout` is a PrintableStream; where it is closed, it stays so."""
    if sys.stdout is None:
        yield
        return
    with redirect_stdout(cast(TextIO, PrintableStream(sys.stdout))):
        yield
