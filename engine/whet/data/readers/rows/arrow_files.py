"""Parquet files, and the Arrow files of a folder that `datasets` saved, read by pyarrow alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from whet.data.readers.lines import PIECE, Row
from whet.data.readers.records import Reading
from whet.data.readers.rows.opened import Opened, Pieces
from whet.errors import DataError
from whet.printable import printable
from whet.storage.readable import readable_json

BATCH = 4096  # rows in memory at a time

Batches = Callable[[], Iterable[Any]]


def open_parquet(path: Path) -> Opened:
    """A parquet file. DataError if it is not whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{printable(path)}: is no whole parquet file ({printable(error)}). Fetch it again."
        ) from error

    def batches() -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path, memory_map=True) as file:
            yield from file.iter_batches(batch_size=BATCH)

    return _opened(path, "parquet", schema, batches)


def open_arrow(path: Path) -> Opened:
    """An Arrow file, as a stream (what `datasets` writes) or with a footer."""
    import pyarrow as pa

    def open_file() -> Any:
        source = pa.memory_map(str(path))
        try:
            return pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            return pa.ipc.open_file(source)

    def batches() -> Iterator[pa.RecordBatch]:
        file = open_file()
        if hasattr(file, "num_record_batches"):
            yield from map(file.get_batch, range(file.num_record_batches))
        else:
            yield from file

    try:
        schema = open_file().schema
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{printable(path)}: is no whole Arrow file ({printable(error)}). Save it again."
        ) from error
    return _opened(path, "Arrow", schema, batches)


def _opened(path: Path, kind: str, schema: Any, batches: Batches) -> Opened:
    import pyarrow as pa

    pieces = None
    # of a categorical column each piece would carry all values
    if not any(map(pa.types.is_dictionary, schema.types)):
        rows = partial(_rows_of_piece, path, kind)
        pieces = Pieces(path, partial(_pieces, path, kind, batches), rows)
    read = partial(_read, path, kind, batches)
    return Opened(read, schema.names, "row", classes_of(schema), pieces=pieces)


def saved_splits(root: Path) -> dict[str, list[Path]] | None:
    """The Arrow files of each split of a folder that `save_to_disk` wrote; None where it is none.

    DataError where a file that it names is missing, or rows are picked by a list of indices.
    """
    if (root / "dataset_dict.json").is_file():
        names = _noted(root / "dataset_dict.json").get("splits", [])
        return {name: _saved_files(root / name) for name in map(_inner, names)}
    return {"train": _saved_files(root)} if (root / "state.json").is_file() else None


def _saved_files(folder: Path) -> list[Path]:
    state = _noted(folder / "state.json")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise DataError(
            f"{printable(folder)}: picks rows by a list of indices. Save it again after "
            "flatten_indices()."
        )
    files = state.get("_data_files") or []
    paths = [folder / _inner(entry.get("filename")) for entry in files if isinstance(entry, dict)]
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise DataError(f"{printable(missing)}: is missing. Copy the whole folder again.")
    return paths


def _inner(name: object) -> str:
    """A file's or split's name; it may not lead out of the folder."""
    if not isinstance(name, str) or name != Path(name).name or name in ("", "..", "."):
        raise DataError(f"state.json names {printable(repr(name)[:60])}, no file. Save it again.")
    return name


def _noted(path: Path) -> dict[str, Any]:
    noted: dict[str, Any] = readable_json(path, remedy="Save the data set again", error=DataError)
    return noted


def classes_of(schema: Any) -> dict[str, tuple[str, ...]]:
    """The classes of each column that is a ClassLabel, which `datasets` notes in the schema."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _read(path: Path, kind: str, batches: Batches, reading: Reading, base: int) -> Iterator[Row]:
    with _torn_is_told(path, kind):
        yield from arrow_rows(batches(), base, reading)


def _pieces(path: Path, kind: str, batches: Batches) -> Iterator[tuple[int, bytes]]:
    """(rows before it, some rows as an Arrow stream), about PIECE bytes at a time."""
    import pyarrow as pa

    before = 0
    with _torn_is_told(path, kind):
        for batch in batches():
            step = max(1, batch.num_rows * PIECE // max(1, batch.nbytes))
            for start in range(0, batch.num_rows, step):
                rows, sink = batch.slice(start, step), pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as stream:
                    stream.write_batch(rows)
                yield before, sink.getvalue().to_pybytes()
                before += rows.num_rows


def _rows_of_piece(
    path: Path, kind: str, reading: Reading, base: int, piece: tuple[int, bytes]
) -> Iterator[Row]:
    import pyarrow as pa

    before, raw = piece
    yield from _read(path, kind, partial(pa.ipc.open_stream, raw), reading, base + before)


@contextmanager
def _torn_is_told(path: Path, kind: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        # A torn file shows only here, when its pages are read.
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{printable(path)}: is a torn {kind} file ({printable(error)}). Fetch it again."
        ) from error


def arrow_rows(
    batches: Iterable[Any], base: int, reading: Reading
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place, row) of Arrow record batches or tables, in order; strings that are not UTF-8 are
    noted.
    """
    for batch in batches:
        try:
            rows = _rows_of(batch)
        except UnicodeDecodeError:
            rows = [_row_of_one(batch.slice(index, 1)) for index in range(batch.num_rows)]
        for place, row in enumerate(rows, base + 1):
            if row is None:
                reading.add("bad UTF-8", place, "a string in this row is not UTF-8")
            else:
                yield place, row
        base += len(rows)


def _rows_of(batch: Any) -> list[dict[str, Any] | None]:
    names, columns = batch.schema.names, [_values(column) for column in batch.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: Any) -> list[Any]:
    """Those of a column that Python has no values for (a time zone that is not known here, dates
    after 9999) are given as its type, which is no text, id or number.
    """
    try:
        values: list[Any] = column.to_pylist()
        return values
    except UnicodeDecodeError:
        raise
    except (ValueError, KeyError, OverflowError):  # ArrowInvalid is a ValueError, too
        return [column.type] * len(column)


def _row_of_one(batch: Any) -> dict[str, Any] | None:
    try:
        return _rows_of(batch)[0]
    except UnicodeDecodeError:
        return None
