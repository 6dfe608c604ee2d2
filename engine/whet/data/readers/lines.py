"""Lines of a text file, plain or gzip, in bounded memory; bad ones are noted and passed over.

A large file can be cut at ends of lines into pieces, of which several processes read the same.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from whet.data.findings import excerpt
from whet.data.readers.records import Reading
from whet.errors import DataError
from whet.printable import printable
from whet.storage.readable import LFS_POINTER, LFS_REMEDY

LINE_LIMIT = 16 << 20  # bytes
LARGE = 32 << 20  # bytes of a file: from here on starting workers, half a second, pays
PIECE = 1 << 20  # bytes
_BUFFER = 1 << 20

Row = tuple[int, dict[str, Any]]


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, unpacking gzip and turning UTF-16 into UTF-8; both are told by the
    first bytes. DataError if it cannot be opened.
    """
    try:
        handle = io.BufferedReader(io.FileIO(path), _BUFFER)
        if handle.peek(2)[:2] == b"\x1f\x8b":
            handle.close()
            handle = io.BufferedReader(cast(Any, gzip.GzipFile(path)), _BUFFER)
        try:
            mark = handle.peek(len(LFS_POINTER))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            mark = b""  # torn: who reads it says so
        if mark.startswith(LFS_POINTER):
            handle.close()
            raise DataError(f"{printable(path)}: {LFS_REMEDY}")
        if mark[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return cast(BinaryIO, io.BufferedReader(_FromUtf16(handle), _BUFFER))
        return handle
    except OSError as error:
        raise DataError(
            f"{printable(path)}: {error.strerror}. Check the path and its permissions."
        ) from error


class _FromUtf16(io.RawIOBase):
    """A file of UTF-16, as spreadsheets save "Unicode text", read as UTF-8. Half a pair and half a
    character become bytes that are no UTF-8, so that their line is named.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._decoder = codecs.getincrementaldecoder("utf-16")("surrogatepass")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            raw = self._handle.read(_BUFFER)
            try:
                text = self._decoder.decode(raw, final=not raw)
            except UnicodeDecodeError:
                text = "\ud800"
            self._ready = text.encode("utf-8", "surrogatepass")
            if not raw:
                break
        taken = self._ready[: len(buffer)]
        buffer[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)

    def close(self) -> None:
        self._handle.close()
        super().close()


def read_some(path: Path, size: int) -> bytes:
    """The first `size` bytes, unpacked; fewer at the end of the file."""
    with open_bytes(path) as handle:
        try:
            return handle.read(size)
        except (EOFError, OSError, zlib.error) as error:
            raise _torn(path, error) from error


def numbered_lines(path: Path, reading: Reading, base: int) -> Iterator[tuple[int, str]]:
    """(place, line without its end) for each line that is UTF-8 and at most LINE_LIMIT bytes.

    DataError for a torn file. CRLF and a byte-order mark are accepted. Anything else goes to the
    findings with its line number.
    """
    with open_bytes(path) as handle:
        yield from _lines_of(handle, path, reading, Start(base))


class Start(NamedTuple):
    """Where a piece of a file begins: the file's place, and how many lines are before."""

    base: int
    lines: int = 0


def _lines_of(
    handle: BinaryIO, path: Path, reading: Reading, start: Start
) -> Iterator[tuple[int, str]]:
    place = start.base + start.lines
    while True:
        place += 1
        try:
            # Two bytes more for the line's own end; the limit keeps one endless line from filling
            # memory.
            raw = handle.readline(LINE_LIMIT + 2)
            if len(raw) > LINE_LIMIT and len(raw.rstrip(b"\r\n")) > LINE_LIMIT:
                _skip_rest_of_line(handle, raw)
                reading.add("line too long", place, "over 16 MiB")
                continue
        except (EOFError, OSError, zlib.error) as error:
            raise _torn(path, error) from error
        if not raw:
            return
        # A byte-order mark is one only at the very beginning.
        if place == start.base + 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            yield place, raw.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            reading.add("bad UTF-8", place, bad_bytes(raw, error.start))


def json_rows(path: Path, reading: Reading, base: int) -> Iterator[Row]:
    """(place, object) for each line that holds a JSON object; blank lines are passed over."""
    yield from _parsed_rows(numbered_lines(path, reading, base), reading)


def is_large(path: Path) -> bool:
    """Whether a file is worth several processes."""
    return path.stat().st_size >= LARGE


def pieces_in(path: Path) -> Iterator[tuple[int, bytes]]:
    """(lines before it, whole lines) of a file, about PIECE bytes at a time. DataError for a torn
    file, after the last whole line. Of a line that is too long the beginning comes, and no more.
    """
    before, held = 0, bytearray()
    with open_bytes(path) as handle:
        while True:
            try:
                read = cast(io.BufferedReader, handle).read1(PIECE)
            except (EOFError, OSError, zlib.error) as error:
                if end := held.rfind(b"\n") + 1:
                    yield before, bytes(held[:end])
                raise _torn(path, error) from error
            held += read
            if read and len(held) < PIECE:
                continue
            end = held.rfind(b"\n") + 1 if read else len(held)
            endless = not end and len(held) > LINE_LIMIT + 2
            if end or endless:
                piece = bytes(held[:end] if end else held)
                del held[: len(piece)]
                yield before, piece
                before += piece.count(b"\n") + endless
            if endless:
                try:
                    _skip_rest_of_line(handle, piece)
                except (EOFError, OSError, zlib.error) as error:
                    raise _torn(path, error) from error
            if not read:
                return


def lines_of_piece(
    path: Path, reading: Reading, base: int, piece: tuple[int, bytes]
) -> Iterator[tuple[int, str]]:
    """What `numbered_lines` gives, of one piece of a file."""
    lines, raw = piece
    yield from _lines_of(cast(BinaryIO, io.BytesIO(raw)), path, reading, Start(base, lines))


def json_rows_of_piece(
    path: Path, reading: Reading, base: int, piece: tuple[int, bytes]
) -> Iterator[Row]:
    """What `json_rows` gives, of one piece of a file."""
    yield from _parsed_rows(lines_of_piece(path, reading, base, piece), reading)


def _parsed_rows(lines: Iterator[tuple[int, str]], reading: Reading) -> Iterator[Row]:
    decoder = json.JSONDecoder()
    decode, scan = decoder.decode, decoder.scan_once  # type: ignore[attr-defined]
    for place, line in lines:
        if not line or line.isspace():
            continue
        try:
            # decode() wraps this in two searches for blanks, as dear as a short row itself
            try:
                row, end = scan(line, 0) if line[0] == "{" else (None, 0)
            except StopIteration:  # a value lacks where one is due: decode says where
                row, end = None, 0
            if end != len(line):
                row = decode(line)
        except json.JSONDecodeError as error:
            what = f"column {error.colno:,}: {error.msg}, near {excerpt(line[error.pos :], 20)}"
            reading.add("bad JSON", place, what)
        except (
            ValueError,
            RecursionError,
        ) as error:  # a number of 5,000 digits; brackets 10,000 deep
            reading.add("bad JSON", place, str(error).split(";")[0])
        else:
            if isinstance(row, dict):
                yield place, row
            else:
                reading.add("bad JSON", place, f"not an object but {excerpt(row)}")


def _torn(path: Path, error: Exception) -> DataError:
    """Not dropped like a bad line: how many rows are lost cannot be known."""
    return DataError(
        f"{printable(path)}: cannot be read to its end ({error}). Fetch or compress it again."
    )


def _skip_rest_of_line(handle: BinaryIO, raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = handle.readline(_BUFFER)


def bad_bytes(raw: bytes, offset: int) -> str:
    """Which byte is bad, with about 20 bytes around it."""
    hint = " (UTF-16?)" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    around = excerpt(raw[max(0, offset - 10) : offset + 10])
    return f"byte {offset + 1:,} is {raw[offset]:#04x}{hint}, in {around}"
