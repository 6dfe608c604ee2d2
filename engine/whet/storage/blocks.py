"""Writing an Arrow file block by block, so that a table larger than memory can be built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

BLOCK_ROWS = 16_384
BLOCK_CHARS = 8 << 20  # a block's strings stay far below Arrow's 2 GiB, even of 4-byte characters

TEXTS = pa.schema([("id", pa.string()), ("text", pa.string())])
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

    `on_block` sees the columns (lists, in the order of the schema) of each block as it is written.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        on_block: Callable[[list[tuple[Any, ...]]], None] | None = None,
    ) -> None:
        self.path = path
        self._schema = schema
        self._on_block = on_block
        self._pending: list[tuple[Any, ...]] = []
        self._chars = 0
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)

    def add(self, row: tuple[Any, ...], chars: int) -> None:
        """Append one row; `chars` is about how many characters it holds."""
        self._pending.append(row)
        self._chars += chars
        if len(self._pending) >= BLOCK_ROWS or self._chars >= BLOCK_CHARS:
            self._flush()

    def close(self) -> None:
        """Write what is pending and the file's footer."""
        self._flush()
        self._writer.close()
        self._sink.close()

    def _flush(self) -> None:
        if not self._pending:
            return
        columns = list(zip(*self._pending, strict=True))
        arrays = [
            pa.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        if self._on_block is not None:
            self._on_block(columns)
        self._pending, self._chars = [], 0
