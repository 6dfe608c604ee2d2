"""Files of rows (jsonl, JSON, csv, tsv, parquet, Arrow), one or a folder of them, a split per file.

What the columns mean is settled for each file by all of its rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from whet.config import DataConfig
from whet.data.readers.lines import json_rows
from whet.data.readers.records import (
    PackedRecords,
    Reading,
    Record,
    Source,
    Text,
    files_under,
    labelled,
)
from whet.data.readers.rows.clicks import click_columns, click_records
from whet.data.readers.rows.columns import spelled, tell_unread
from whet.data.readers.rows.json_files import json_file_rows
from whet.data.readers.rows.json_sets import corpus_files, set_records
from whet.data.readers.rows.kinds import (
    SET,
    file_kind,
    is_row_file,
    open_rows,
    split_name,
    stem_of,
)
from whet.data.readers.rows.opened import Opened, looked_through, records_of_rows
from whet.data.readers.rows.pairs import records_of
from whet.data.readers.rows.settled import settled_roles
from whet.data.readers.rows.shapes import SHAPES, document_of, shape_of, shaped_records
from whet.data.readers.values import (
    ID_NAMES,
    IMAGE,
    TEXT_NAMES,
    Extra,
    picture_column,
    table_row,
)
from whet.errors import DataError
from whet.printable import printable
from whet.storage.pictures import ENDINGS
from whet.storage.places import user_path


def source_of_file(path: Path, config: DataConfig) -> Source:
    """One file as a source with the split train. DataError if its content is of no known kind."""
    return source_of_files(path.parent, {"train": [path]}, config)


def source_of_folder(root: Path, config: DataConfig) -> Source | None:
    """The folder's row files as a source, named split by split, or None where it has none.

    `train-00000-of-00002.parquet` is a piece of train; val, valid and validation mean dev. A single
    file is train.
    """
    files = [path for path in sorted(root.iterdir()) if is_row_file(path)]
    if len(files) > 1:
        files = [path for path in files if stem_of(path) != "corpus"]
    splits: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        splits[split_name(stem_of(path))].append(path)
    if len(splits) == 1 and not {"train", "dev", "test"} & set(splits):
        splits = {"train": next(iter(splits.values()))}
    return source_of_files(root, splits, config) if splits else None


def source_of_files(root: Path, splits: dict[str, list[Path]], config: DataConfig) -> Source:
    """Files of rows, split by split, as a source."""
    kinds = {path: file_kind(path) for paths in splits.values() for path in paths}
    if config.label not in (None, "off"):
        return _labelled_source(root, kinds, splits, config)
    tools = {_tool_of(path, kind) for path, kind in kinds.items()}
    tool = tools.pop() if len(tools) == 1 else None
    corpus = _corpus_beside(root) if tool == "Tevatron" else None
    sets = [path for path, kind in kinds.items() if kind == SET]
    beside = [corpus] if corpus else [file for path in sets for file in corpus_files(path)]
    return Source(
        kind=tool or " + ".join(sorted(set(kinds.values()))) + " columns",
        root=root,
        files=(*kinds, *beside),
        read=partial(_read, root, splits, kinds, corpus=corpus, config=config),
        repeats="same text" if tool == "Tevatron" or sets else "fine",
        corpus_name=corpus.name if corpus else "corpus.jsonl, which is missing",
    )


def _labelled_source(
    root: Path, kinds: dict[Path, str], splits: dict[str, list[Path]], config: DataConfig
) -> Source:
    """Rows of texts or pictures with a class."""
    # of jsonl the columns are those of its rows
    opened = [looked_through(open_rows(path, kind, config)) for path, kind in kinds.items()]
    pictures = any(picture_column(one.columns) for one in opened)
    beside = [path for path in files_under(root) if pictures and path.suffix.lower() in ENDINGS]
    return Source(
        kind=" + ".join(sorted(set(kinds.values()))) + " with labels",
        root=root,
        files=(*kinds, *beside),
        read=partial(_read, root, splits, kinds, corpus=None, config=config),
        fingerprint=f"label {config.label}",
        repeats="refuse",
        pictures=pictures,
        labelled=True,
    )


def _tool_of(path: Path, kind: str) -> str | None:
    """Whose rows these are, as the first of them looks: a name to be told, and no more."""
    if kind == SET:
        return SET
    if kind not in ("jsonl", "JSON"):
        return None
    reading = Reading()
    rows = json_rows if kind == "jsonl" else json_file_rows
    _, first = next(islice(rows(path, reading, reading.file("")), 1), (0, {}))
    return "FlagEmbedding" if {"query", "pos"} <= set(first) else shape_of(list(first))


def _corpus_beside(root: Path) -> Path | None:
    beside = (root / "corpus.jsonl", root / "corpus.jsonl.gz")
    return next((path for path in beside if path.is_file()), None)


def _read(
    root: Path,
    splits: dict[str, list[Path]],
    kinds: dict[Path, str],
    reading: Reading,
    *,
    corpus: Path | None,
    config: DataConfig,
) -> Iterator[Record | PackedRecords]:
    if corpus is not None:
        for place, row in json_rows(corpus, reading, reading.file(corpus.name)):
            yield from document_of(row, reading, place)
    for split, paths in splits.items():
        for path in paths:
            name = path.relative_to(root).as_posix()
            if kinds[path] == SET:
                yield from set_records(path, name, reading.split(split, name), reading)
                continue
            opened = looked_through(open_rows(path, kinds[path], config), reading.crew)
            yield from records_in(opened, name, reading.split(split, name), reading, config)


def records_in(
    opened: Opened, name: str, split: str, reading: Reading, config: DataConfig
) -> Iterator[Record | PackedRecords]:
    """The records of one opened file, whatever its columns mean."""
    if not opened.columns:
        list(opened.read(reading, reading.file(name, opened.unit)))  # what is wrong with its rows
        return
    if config.label not in (None, "off"):
        yield from _labelled_records(opened, name, split, reading, config)
        return
    chosen = bool(config.query or config.positive or config.negatives)
    shape = None if chosen else shape_of(opened.columns)
    clicks = None if chosen else click_columns(opened.columns)
    base = reading.file(name, opened.unit)
    if shape is not None:
        yield from shaped_records(opened.read(reading, base), shape, split, reading)
        tell_unread(opened.columns, SHAPES[shape].read, reading, printable(name))
    elif clicks is not None:
        rows = opened.read(reading, base)
        yield from click_records(rows, clicks, split, reading, printable(name))
        tell_unread(opened.columns, clicks.read, reading, printable(name))
    else:
        roles, grade = settled_roles(opened, printable(name), reading, config)
        make = partial(records_of, roles=roles, split=split, grade=grade)
        yield from records_of_rows(opened, make, reading, base)


def _labelled_records(
    opened: Opened, name: str, split: str, reading: Reading, config: DataConfig
) -> Iterator[Text]:
    """A text or picture and its class in each row. DataError where a column of them lacks."""
    label = str(config.label)
    pictures = picture_column(opened.columns)
    texts = next((name for name in TEXT_NAMES if name in opened.columns), None)
    column = config.query or texts or pictures
    lacks = next((one for one in (label, column) if one not in opened.columns), None)
    if column is None or lacks is not None:
        what = f"no column {spelled(str(lacks))}" if lacks else "no column of texts that is known"
        columns = ", ".join(map(spelled, opened.columns[:8]))
        raise DataError(
            f"{printable(name)}: has {what} (columns: {columns}). Name them: data.query= and "
            "data.label="
        )
    id_name = next((n for n in ID_NAMES if n in opened.columns), None)
    classes = opened.classes.get(label, ())
    place_of_0 = reading.file(name, opened.unit)
    stem = Path(name.removeprefix("split ")).stem
    home = user_path(config.path)
    extra = Extra(home.parent if home.is_file() else home, label)
    for place, row in opened.read(reading, place_of_0):
        value = row.get(label)
        if classes and isinstance(value, int) and 0 <= value < len(classes):
            value = classes[value]
        named = {
            "_id": row.get(id_name) if id_name else f"{stem}-{place - place_of_0:06d}",
            IMAGE if column == pictures else "text": row.get(column),
            label: value,
        }
        record = table_row(named, "queries", reading, place, extra=extra)
        if record is not None:
            yield from labelled(record, split)
