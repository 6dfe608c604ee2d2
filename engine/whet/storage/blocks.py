"""Arrow files written and read block by block, so that tables larger than memory are no matter."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

BLOCK_ROWS = 16_384
BLOCK_CHARS = 8 << 20  # a block's strings stay far below Arrow's 2 GiB, even of 4-byte characters

TEXTS = pa.schema([("id", pa.string()), ("text", pa.string())])
PICTURES = pa.schema([*TEXTS, ("payload", pa.binary())])  # null: the row is a text
JUDGMENTS = pa.schema(
    [("query", pa.string()), ("doc", pa.string()), ("relevance", pa.int64()), ("place", pa.int64())]
)
SCORES = pa.schema(
    [
        *(("query", pa.string()), ("positive", pa.string()), ("doc", pa.string())),
        *(("score", pa.float64()), ("place", pa.int64())),
    ]
)


class BlockWriter:
    """Appends rows to a new Arrow IPC file, to be closed at the end.

    `on_block` sees each block as it is written. Blocks end at the same rows whether these come one
    by one or many at once.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        on_block: Callable[[pa.RecordBatch], None] | None = None,
    ) -> None:
        self.path = path
        self._schema = schema
        self._on_block = on_block
        self._pending: list[tuple[Any, ...]] = []
        self._packed: list[pa.RecordBatch] = []  # before what is pending
        self._packed_rows = 0
        self._chars = 0
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)

    def add(self, row: tuple[Any, ...], chars: int) -> None:
        """Append one row; `chars` is about how many characters it holds."""
        self._pending.append(row)
        self._chars += chars
        if self._rows >= BLOCK_ROWS or self._chars >= BLOCK_CHARS:
            self._flush()

    def add_rows(self, rows: pa.RecordBatch, char_M: np.ndarray) -> None:
        """Append many rows; `char_M` as in `add`, for each."""
        self._pack()
        total_M1 = np.concatenate([[0], np.cumsum(char_M)])
        done = 0
        while done < len(rows):
            # with which row the block is full
            wanted = BLOCK_CHARS - self._chars + total_M1[done]
            full = int(np.searchsorted(total_M1[done + 1 :], wanted)) + 1
            count = min(full, BLOCK_ROWS - self._rows, len(rows) - done)
            self._packed.append(rows.slice(done, count))
            self._packed_rows += count
            self._chars += int(total_M1[done + count] - total_M1[done])
            done += count
            if self._rows >= BLOCK_ROWS or self._chars >= BLOCK_CHARS:
                self._flush()

    def close(self) -> None:
        """Write what is pending and the file's footer."""
        self._flush()
        self._writer.close()
        self._sink.close()

    @property
    def _rows(self) -> int:
        return self._packed_rows + len(self._pending)

    def _pack(self) -> None:
        if self._pending:
            self._packed.append(rows_as(self._schema, self._pending))
            self._packed_rows += len(self._pending)
            self._pending = []

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._packed:
            self._pack()
            # joined also where it is one: what lies beyond a slice would be written with it
            parts = [*self._packed, self._packed[0].slice(0, 0)]
            (block,) = pa.Table.from_batches(parts).combine_chunks().to_batches()
        else:
            block = rows_as(self._schema, self._pending)
        self._writer.write_batch(block)
        if self._on_block is not None:
            self._on_block(block)
        self._pending, self._packed = [], []
        self._packed_rows = self._chars = 0


def rows_as(schema: pa.Schema, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    """Rows, at least one, as columns."""
    columns = zip(*rows, strict=True)
    arrays = [_array_of(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        return string_array(values)
    return binary_array(values) if kind == pa.binary() else number_array(values, kind)


# pyarrow.array() and to_numpy() would import pandas, where there is one: 50 MB of each process, and
# half a second
def string_array(values: Sequence[str]) -> pa.StringArray:
    """Strings as an Arrow array; together they have less than 2 GiB."""
    encoded = [value.encode() for value in values]
    offset_M1 = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, encoded), np.int32, len(encoded)), out=offset_M1[1:])
    content = pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offset_M1), content)


def binary_array(values: Sequence[bytes | None]) -> pa.BinaryArray:
    """Bytes, or nothing, as an Arrow array; together they have less than 2 GiB."""
    offset_M1 = np.zeros(len(values) + 1, np.int32)
    sizes = (len(value or b"") for value in values)
    np.cumsum(np.fromiter(sizes, np.int32, len(values)), out=offset_M1[1:])
    there_M = np.fromiter((value is not None for value in values), bool, len(values))
    valid = pa.py_buffer(np.packbits(there_M, bitorder="little"))
    content = pa.py_buffer(b"".join(value or b"" for value in values))
    buffers = [valid, pa.py_buffer(offset_M1), content]
    return pa.BinaryArray.from_buffers(pa.binary(), len(values), buffers)


def number_array(values: Sequence[float] | np.ndarray, kind: pa.DataType) -> pa.Array:
    """Numbers as an Arrow array."""
    value_M = np.array(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(value_M), [None, pa.py_buffer(value_M)])


def numbers_of(array: pa.Array) -> np.ndarray:
    """The numbers of an Arrow array without nulls, not copied."""
    buffer, kind = array.buffers()[1], array.type.to_pandas_dtype()
    numbers_M: np.ndarray = np.frombuffer(buffer, kind, len(array), array.offset * kind().itemsize)
    return numbers_M


def blocks_in(path: Path) -> Iterator[pa.RecordBatch]:
    """The blocks of a file in order, one in memory at a time."""
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


class MappedBlocks:
    """A file, memory-mapped: what is read of it counts as memory of the process until it is given
    back, and stays in the system's cache of files as long as there is room.
    """

    def __init__(self, path: Path) -> None:
        """Map it. OSError, ValueError or ArrowInvalid where it is not whole."""
        with path.open("rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.table = pa.ipc.open_file(pa.BufferReader(self._pages)).read_all()

    def give_back(self) -> None:
        """Take what was read out of the process's memory; it is read again where it is needed."""
        if hasattr(mmap, "MADV_DONTNEED"):  # Windows has none, and takes back what it needs
            self._pages.madvise(mmap.MADV_DONTNEED)
