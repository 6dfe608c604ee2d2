"""Files of rows (jsonl, csv, tsv, parquet), one or a folder of them, a split per file."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from whet.data.readers import flag
from whet.data.readers.columns import Rows, known_name, records_of, roles_of
from whet.data.readers.lines import LINE_LIMIT, json_rows, numbered_lines, read_some
from whet.data.readers.records import Reading, Record, Source
from whet.errors import DataError
from whet.printable import printable

_ENDINGS = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet")
_SPLITS = {"validation": "dev", "valid": "dev", "val": "dev", "eval": "dev", "training": "train"}
_SHARD = re.compile(r"[-_.]\d+([-_.]of[-_.]\d+)?$")
_IDENTIFIER = re.compile(r"[A-Za-z_][\w.-]{0,39}$")


def source_of_file(path: Path) -> Source:
    """One file as a source with the split train. DataError if its content is of no known kind."""
    return _source(path.parent, {"train": [path]})


def source_of_folder(root: Path) -> Source | None:
    """The folder's row files as a source, named split by split, or None where it has none.

    `train-00000-of-00002.parquet` is a piece of train; val, valid and validation mean dev. A single
    file is train.
    """
    files = [path for path in sorted(root.iterdir()) if path.is_file() and _stem(path)]
    splits: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if _stem(path) != "corpus":
            splits[split_name(_SHARD.sub("", _stem(path)))].append(path)
    if len(splits) == 1 and not {"train", "dev", "test"} & set(splits):
        splits = {"train": next(iter(splits.values()))}
    return _source(root, splits) if splits else None


def split_name(name: str) -> str:
    """train, dev or test for the names others use; anything else as it is.

    >>> split_name("validation"), split_name("mine")
    ('dev', 'mine')
    """
    return _SPLITS.get(name.lower(), name)


def file_kind(path: Path) -> str:
    """jsonl, csv, tsv or parquet, by the file's first bytes. DataError for anything else."""
    head = read_some(path, 4096).removeprefix(b"\xef\xbb\xbf")
    start = head.lstrip()[:1]
    if not start:
        raise DataError(f"{printable(path)}: is empty. Give it one row a line.")
    if head.startswith(b"PAR1"):
        return "parquet"
    if start == b"{":
        return "jsonl"
    if start == b"[" and _named(path, ".json", ".jsonl", ".ndjson"):
        raise DataError(
            f"{printable(path)}: is one JSON array. Write one object a line: jq -c '.[]' "
            f"{printable(path.name)}"
        )
    if _named(path, ".csv", ".tsv"):
        return "tsv" if b"\t" in head.split(b"\n")[0] else "csv"
    if _named(path, *_ENDINGS):
        return "jsonl"  # so that the line at fault is named
    raise DataError(
        f"{printable(path)}: is not jsonl, csv, tsv or parquet. Convert it to one of them."
    )


def _source(root: Path, splits: dict[str, list[Path]]) -> Source:
    kinds = {path: file_kind(path) for paths in splits.values() for path in paths}
    first = next(iter(kinds))
    special = flag.kind_of(first) if kinds[first] == "jsonl" else None
    if special is not None:
        return flag.source_of(special, root, splits)
    return Source(
        kind=" + ".join(sorted(set(kinds.values()))) + " columns",
        root=root,
        files=tuple(kinds),
        read=partial(_read, root, splits, kinds),
        repeats="fine",
    )


def _read(
    root: Path, splits: dict[str, list[Path]], kinds: dict[Path, str], reading: Reading
) -> Iterator[Record]:
    for split, paths in splits.items():
        for path in paths:
            name = path.relative_to(root).as_posix()
            split = reading.split(split, name)
            columns, rows = _OPENERS[kinds[path]](path, name, reading)
            if columns:
                roles = roles_of(columns, reading, reading.file(name))
                yield from records_of(rows, roles, split, reading)


def _open_jsonl(path: Path, name: str, reading: Reading) -> tuple[list[str], Rows]:
    rows = json_rows(path, reading, reading.file(name))
    first = next(rows, None)
    if first is None:
        return [], ()
    return list(first[1]), _chain(first, rows)


def _open_parquet(path: Path, name: str, reading: Reading) -> tuple[list[str], Rows]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{printable(path)}: is no whole parquet file ({printable(error)}). Fetch it again."
        ) from error
    base = reading.file(name, "row")

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            # A torn file shows only here, when its pages are read.
            yield from file.iter_batches(batch_size=4096)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{printable(path)}: is a torn parquet file ({printable(error)}). Fetch it again."
            ) from error

    return file.schema_arrow.names, arrow_rows(batches(), base, reading)


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


def _open_delimited(
    path: Path, name: str, reading: Reading, *, delimiter: str
) -> tuple[list[str], Rows]:
    """A csv (RFC 4180 quotes) or tsv (no quotes at all) file; its first line is a header if it
    looks like one.
    """
    lines = _Lines(numbered_lines(path, reading, reading.file(name)))
    csv.field_size_limit(LINE_LIMIT)
    if delimiter == "\t":
        # In a tsv a quote is a character like others; read as csv it would swallow lines.
        table = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    else:
        table = csv.reader(lines, delimiter=delimiter, strict=True)
    fields = _delimited_rows(table, lines, reading)
    first = next(fields, None)
    if first is None:
        return [], ()
    place, header = first
    if any(map(known_name, header)) or all(map(_IDENTIFIER.match, header)):
        return header, _named_rows(fields, header, reading)
    reading.add("no header", place, "the first line is taken as data")
    names = [f"column {number + 1}" for number in range(len(header))]
    return names, _named_rows(_chain(first, fields), names, reading)


class _Lines:
    """Lines for csv.reader, remembering the place of the last one."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self.place = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.place, line = next(self._lines)
        return line + "\n"


def _delimited_rows(
    table: Iterator[list[str]], lines: _Lines, reading: Reading
) -> Iterator[tuple[int, list[str]]]:
    while True:
        try:
            fields = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            reading.add("bad CSV", lines.place, str(error))
        else:
            if fields:
                yield lines.place, fields


def _named_rows(
    rows: Iterator[tuple[int, list[str]]], names: list[str], reading: Reading
) -> Iterator[tuple[int, dict[str, Any]]]:
    for place, fields in rows:
        if len(fields) > len(names):
            reading.add("bad CSV", place, f"{len(fields)} fields, but {len(names)} columns")
        else:
            # an empty cell is how these formats say "none": a triplet with fewer negatives
            yield place, {n: f for n, f in zip(names, fields, strict=False) if f}


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _named(path: Path, *endings: str) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(endings)


def _stem(path: Path) -> str:
    """`train` of train.jsonl.gz; empty where the ending is of no row file."""
    name = path.name.removesuffix(".gz")
    stem, ending = Path(name).stem, Path(name).suffix.lower()
    return stem if ending in _ENDINGS and not stem.startswith((".", "dataset_info")) else ""


_OPENERS: dict[str, Callable[[Path, str, Reading], tuple[list[str], Rows]]] = {
    "jsonl": _open_jsonl,
    "parquet": _open_parquet,
    "csv": partial(_open_delimited, delimiter=","),
    "tsv": partial(_open_delimited, delimiter="\t"),
}
