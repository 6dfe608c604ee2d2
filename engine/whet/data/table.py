"""A table of ids and texts, or pictures, on disk, memory-mapped: a corpus larger than memory works.

Shape suffixes: N rows of the table, B blocks of its Arrow file, M ids asked for.
 Beside `corpus.arrow` lie `corpus.json` (rows and digest), `corpus.hashes.npy` and
`corpus.rows.npy` (the id index: the 64-bit hashes of all ids ascending, and their rows) and, in the
cache, `corpus.groups.npy`. Opening one checks no hashes: the cache does (`whet.data.build`).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from whet.data.text import hash64, normalise, told_apart_by
from whet.errors import DataError
from whet.printable import printable
from whet.processes.crew import Crew
from whet.storage.blocks import (
    PICTURES,
    TEXTS,
    BlockWriter,
    MappedBlocks,
    number_array,
    string_array,
)
from whet.storage.commit import whole_file
from whet.types import Item, Picture

LARGE = 200_000  # rows, of which hashing the texts takes longer than starting workers
_IDS, _TEXTS, _PAYLOADS = 0, 1, 2  # columns


class TextTable:
    """Rows of `id` and `text`, read from an Arrow file as they are needed. Pickles as its path.

    A table of pictures has their bytes beside the texts (`payload`, null for a row that is a text).
    """

    def __init__(self, path: Path | str) -> None:
        """Open a table that `write_table` wrote. DataError if it is not whole."""
        self.path = Path(path)
        try:
            facts = json.loads(_beside(self.path, "json").read_text())
            self._mapped = MappedBlocks(self.path)
            self._hashes_N = np.load(_beside(self.path, "hashes.npy"), mmap_mode="r")
            self._rows_N = np.load(_beside(self.path, "rows.npy"), mmap_mode="r")
        except (OSError, ValueError, RecursionError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{printable(path)}: not a whole table ({printable(error)}). Build it again."
            ) from error
        self.digest: str = facts["digest"]
        names = self._mapped.table.column_names
        self._columns_B = [self._mapped.table.column(name).chunks for name in names]
        self.has_pictures = len(names) > _PAYLOADS
        self._starts_B = np.cumsum([0] + [len(chunk) for chunk in self._columns_B[_IDS]])

    def __len__(self) -> int:
        return int(self._starts_B[-1])

    def __reduce__(self) -> tuple[type[TextTable], tuple[Path]]:
        return TextTable, (self.path,)

    @property
    def ids(self) -> IdView:
        """All ids in row order, fetched one by one as they are indexed."""
        return IdView(self)

    def id(self, row: int) -> str:
        """The id of a row (0 to len - 1)."""
        id_: str = self._one(_IDS, row)
        return id_

    def text(self, row: int) -> str:
        """The text of a row (0 to len - 1)."""
        text: str = self._one(_TEXTS, row)
        return text

    def texts(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The texts of the given rows, in the order given."""
        return self._many(_TEXTS, np.asarray(rows, np.int64))

    def items(self, rows: np.ndarray | Sequence[int]) -> Sequence[Item]:
        """What an encoder makes vectors of: the texts of the rows, or the pictures, which are read
        as they are looked at.
        """
        if not self.has_pictures:
            return self.texts(rows)
        return PictureView(self, np.asarray(rows, np.int64))

    def item(self, row: int) -> Item:
        """The text or picture of a row (0 to len - 1)."""
        text = self.text(row)
        payload = self._one(_PAYLOADS, row) if self.has_pictures else None
        return text if payload is None else Picture(payload, text)

    def ids_of(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The ids of the given rows, in the order given."""
        return self._many(_IDS, np.asarray(rows, np.int64))

    def blocks(self) -> Iterator[tuple[list[str], list[str]]]:
        """The whole table in order, (ids, texts) of a few thousand rows at a time."""
        yield from zip(self._passed(_IDS), self._passed(_TEXTS), strict=True)

    def payload_blocks(self) -> Iterator[list[bytes | None]]:
        """The bytes of the pictures of the same rows, None of a text."""
        if self.has_pictures:
            yield from self._passed(_PAYLOADS)
        else:
            for ids in self.id_blocks():
                yield [None for _ in ids]

    def id_blocks(self) -> Iterator[list[str]]:
        """The same of the ids alone: no text is read."""
        yield from self._passed(_IDS)

    def text_arrays(self) -> Iterator[pa.StringArray]:
        """The texts as Arrow arrays, a block each, without copying."""
        for texts in self._columns_B[_TEXTS]:
            yield texts
            self.give_back()

    def column_blocks(self, column: int) -> list[pa.Array]:
        """The blocks of ids (0), texts (1) or pictures (2: nulls in a table of texts)."""
        if column < len(self._columns_B):
            blocks: list[pa.Array] = self._columns_B[column]
            return blocks
        return [pa.nulls(len(ids), pa.binary()) for ids in self._columns_B[_IDS]]

    def give_back(self) -> None:
        """Take what was read out of memory, at the end of a block of a pass over all rows: else the
        whole table would be in it at the end.
        """
        self._mapped.give_back()

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """The row of each id, int64 [M], -1 where there is none."""
        found_M = np.full(len(ids), -1, np.int64)
        if not len(self) or not len(ids):
            return found_M
        hash_M = hash64(ids)
        at_M = np.searchsorted(self._hashes_N, hash_M)
        open_M = np.arange(len(ids))
        while len(open_M):  # twice round at most, unless two ids share a 64-bit hash
            at_M = np.minimum(at_M, len(self) - 1)
            same_M = self._hashes_N[at_M] == hash_M[open_M]
            open_M, at_M = open_M[same_M], at_M[same_M]
            rows_M = np.asarray(self._rows_N[at_M])
            wanted = [ids[int(i)] for i in open_M]
            right_M = np.array(
                [a == b for a, b in zip(self.ids_of(rows_M), wanted, strict=True)], dtype=bool
            )
            found_M[open_M[right_M]] = rows_M[right_M]
            more_M = ~right_M & (at_M + 1 < len(self))
            open_M, at_M = open_M[more_M], at_M[more_M] + 1
        return found_M

    def group_of_N(self) -> np.ndarray:
        """For each row the smallest row whose text is equal after `normalise`, and whose picture is
        equal byte by byte, int64 [N].

        Equality is judged by a 64-bit hash. Computed here unless `keep_groups` did.
        """
        kept = _beside(self.path, "groups.npy")
        if kept.exists():
            groups_N: np.ndarray = np.load(kept, mmap_mode="r")
            return groups_N
        return groups_of(self.text_hashes())

    def text_hashes(self, crew: Crew | None = None) -> np.ndarray:
        """The hash of each normalised text, uint64 [N]; of a large table by the crew."""
        blocks = range(len(self._columns_B[_TEXTS]))
        if crew is not None and len(self) >= LARGE:
            hashes = list(crew.each(partial(_hashes_of_block, self.path), blocks))
        elif self.has_pictures:
            both = zip(self._passed(_TEXTS), self._passed(_PAYLOADS), strict=True)
            hashes = [hash64(map(told_apart_by, _items(*columns))) for columns in both]
        else:
            hashes = [hash64(map(normalise, texts)) for texts in self._passed(_TEXTS)]
        return np.concatenate(hashes) if hashes else np.empty(0, np.uint64)

    def _passed(self, column: int) -> Iterator[list[Any]]:
        for values in self._columns_B[column]:
            rows: list[Any] = values.to_pylist()
            self.give_back()
            yield rows

    def _one(self, column: int, row: int) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of a table of {len(self)} rows")
        block = int(np.searchsorted(self._starts_B, row, side="right")) - 1
        return self._columns_B[column][block][int(row - self._starts_B[block])].as_py()

    def _many(self, column: int, rows_M: np.ndarray) -> list[Any]:
        if len(rows_M) and not 0 <= rows_M.min() <= rows_M.max() < len(self):
            raise IndexError(
                f"rows {rows_M.min()} to {rows_M.max()} of a table of {len(self)} rows"
            )
        block_M = np.searchsorted(self._starts_B, rows_M, side="right") - 1
        order_M = np.argsort(block_M, kind="stable")
        blocks, begins = np.unique(block_M[order_M], return_index=True)
        values: list[Any] = []
        for block, part in zip(blocks, np.split(order_M, begins[1:]), strict=False):
            offsets = number_array(rows_M[part] - self._starts_B[block], pa.int64())
            values += self._columns_B[column][block].take(offsets).to_pylist()
        result = np.empty(len(rows_M), dtype=object)
        result[order_M] = values
        return result.tolist()


class IdView(Sequence[str]):
    """The ids of a table as a read-only sequence that holds none of them in memory."""

    def __init__(self, table: TextTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self._table.ids_of(np.arange(len(self))[index])
        return self._table.id(index + len(self) if index < 0 else index)

    def __iter__(self) -> Iterator[str]:
        for ids in self._table.id_blocks():
            yield from ids


class PictureView(Sequence[Item]):
    """Texts and pictures of some rows as a sequence that holds none of them in memory."""

    def __init__(self, table: TextTable, rows_M: np.ndarray) -> None:
        self._table, self._rows_M = table, rows_M

    def __len__(self) -> int:
        return len(self._rows_M)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> PictureView: ...
    def __getitem__(self, index: int | slice) -> Item | PictureView:
        if isinstance(index, slice):
            return PictureView(self._table, self._rows_M[index])
        return self._table.item(int(self._rows_M[index]))


class TableWriter:
    """Writes a table row by row; only 8 bytes per row stay in memory, for the id index."""

    def __init__(self, path: Path, *, pictures: bool = False) -> None:
        self._path = path
        self._pictures = pictures
        self._digest = sha256()
        self._hashes = [np.empty(0, np.uint64)]
        self._unhashed: list[str] = []  # ids, after those of the hashes
        self._writer = BlockWriter(path, PICTURES if pictures else TEXTS, on_block=self._see)

    def add(self, id_: str, text: str, payload: bytes | None = None) -> None:
        """Append a row. Id and text may not hold NUL, which separates them in the digest."""
        self._unhashed.append(id_)
        row = (id_, text, payload) if self._pictures else (id_, text)
        self._writer.add(row, len(text) + len(payload or b""))

    def add_rows(self, rows: pa.RecordBatch, char_M: np.ndarray, hash_M: np.ndarray) -> None:
        """Append many, with the length of each text and `hash64` of each id."""
        self._hash()
        self._hashes.append(hash_M)
        self._writer.add_rows(rows, char_M)

    def close(self) -> TextTable:
        """Write the id index and the digest, and open the table."""
        self._writer.close()
        self._hash()
        hash_N = np.concatenate(self._hashes)
        self._hashes = []
        order_N = np.argsort(hash_N, kind="stable")
        save_array(_beside(self._path, "hashes.npy"), hash_N[order_N])
        save_array(_beside(self._path, "rows.npy"), order_N.astype(np.int64, copy=False))
        facts = {"rows": len(hash_N), "digest": self._digest.hexdigest()}
        _beside(self._path, "json").write_text(json.dumps(facts))
        return TextTable(self._path)

    def _see(self, block: pa.RecordBatch) -> None:
        import pyarrow.compute as pc  # whoever only reads tables does without

        self._hash()
        # One string array of `id NUL text NUL`: its bytes are those of all rows, one after another.
        # (Of arrays alone: for a scalar pyarrow imports pandas.)
        none, nul = (string_array([text] * len(block)) for text in ("", "\0"))
        joined = pc.binary_join_element_wise(*block.columns[:_PAYLOADS], none, nul)
        self._digest.update(joined.buffers()[2])
        if self._pictures:
            for payload in block.column(_PAYLOADS).to_pylist():
                self._digest.update(sha256(payload or b"").digest())

    def _hash(self) -> None:
        if self._unhashed:
            self._hashes.append(hash64(self._unhashed))
            self._unhashed = []


def write_table(path: Path, rows: Iterable[tuple[str, str]]) -> TextTable:
    """Write (id, text) rows to `path` (an .arrow file) and its side files, and open the table.

    Ids must differ. The digest is the SHA-256 of `id NUL text NUL` of all rows in order, in a table
    of pictures of their own SHA-256 after each block.
    """
    writer = TableWriter(path)
    for id_, text in rows:
        writer.add(id_, text)
    return writer.close()


def groups_of(hash_N: np.ndarray) -> np.ndarray:
    """For each row the first row of the same hash, int64 [N]."""
    _, first, inverse_N = np.unique(hash_N, return_index=True, return_inverse=True)
    return first.astype(np.int64)[inverse_N]


def _hashes_of_block(path: Path, number: int) -> np.ndarray:
    table = MappedBlocks(path).table
    texts = table.column("text").chunk(number).to_pylist()
    if len(table.column_names) <= _PAYLOADS:
        return hash64(map(normalise, texts))
    payloads = table.column(_PAYLOADS).chunk(number).to_pylist()
    return hash64(map(told_apart_by, _items(texts, payloads)))


def _items(texts: Sequence[str], payloads: Sequence[bytes | None]) -> list[Item]:
    return [
        text if payload is None else Picture(payload, text)
        for text, payload in zip(texts, payloads, strict=True)
    ]


def keep_groups(table: TextTable, crew: Crew | None = None) -> np.ndarray:
    """Write `group_of_N` beside the table, from where it is read from then on. Returns the hashes
    of the texts that it was made from, uint64 [N].
    """
    hash_N = table.text_hashes(crew)
    save_array(_beside(table.path, "groups.npy"), groups_of(hash_N))
    return hash_N


def repeated_rows(table: TextTable) -> np.ndarray:
    """Rows whose id an earlier row has: int64 [R, 2] of (row, that first row), ascending."""
    hash_N, row_N = table._hashes_N, table._rows_N
    # Only ids whose hash another one has are read: all ids at once may not fit in memory.
    twin = np.asarray(hash_N[1:]) == np.asarray(hash_N[:-1])
    member = np.flatnonzero(np.append(twin, False) | np.append(False, twin))
    later, earlier = array("q"), array("q")
    current, first_of = -1, dict[str, int]()
    for start in range(0, len(member), 1 << 16):
        part = member[start : start + (1 << 16)]
        rows = np.asarray(row_N[part])
        for key, row, id_ in zip(
            hash_N[part].tolist(), rows.tolist(), table.ids_of(rows), strict=True
        ):
            if key != current:
                current, first_of = key, {}
            # Equal hashes are not yet equal ids.
            first = first_of.setdefault(id_, row)
            if first != row:
                later.append(row)
                earlier.append(first)
    pairs_R2 = np.stack([np.array(later, np.int64), np.array(earlier, np.int64)], axis=1)
    return pairs_R2[np.argsort(pairs_R2[:, 0])]


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an .npy file: a reader sees all of it or none."""
    with whole_file(path) as draft, draft.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_suffix("." + suffix)
