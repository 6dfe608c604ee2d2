"""Data sets of the package ir_datasets, by name: `irds:beir/scifact/train`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from whet.data.readers.records import Reading, Record, Source, Text
from whet.data.readers.rows.kinds import split_name
from whet.data.readers.values import judgment_of
from whet.data.text import id_of
from whet.errors import DataError, EnvironmentRefused, WhetError
from whet.printable import printable
from whet.version import install_line

PREFIXES = ("irds:", "ir_datasets:")
_SPLITS = ("train", "dev", "validation", "test")


def source_of_name(name: str) -> Source:
    """The set as a source. Where it has no judgments of its own, those of its train, dev and test.

    EnvironmentRefused without ir_datasets, DataError for a name it does not know.
    """
    title = name.partition(":")[2].strip("/")
    whole = _loaded(title)
    if _has(whole, "qrels"):
        parts = {split_name(title.rpartition("/")[2]): whole}
        if not {"train", "dev", "test"} & set(parts):
            parts = {"train": whole}
    else:
        parts = {
            split_name(split): part
            for split in _SPLITS
            if (part := _loaded(f"{title}/{split}", optional=True)) is not None
        }
    if not _has(whole, "docs"):
        raise DataError(f"{printable(name)}: has no documents. Choose another set.")
    named = Path(title)
    return Source(
        kind="ir_datasets",
        root=named.parent if named.name in _SPLITS and named.parent.name else named,
        files=(),
        read=partial(_read, printable(name), whole, parts),
        fingerprint=name,
        repeats="same text",
    )


def _loaded(title: str, *, optional: bool = False) -> Any:
    try:
        import ir_datasets
    except ImportError as error:
        raise EnvironmentRefused(
            f"irds: names are read with the package ir_datasets. Run `{install_line('irds')}`."
        ) from error
    try:
        return ir_datasets.load(title)
    except KeyError as error:
        if optional:
            return None
        raise DataError(
            f"irds:{printable(title)}: ir_datasets knows no such set. Its names are on "
            "ir-datasets.com."
        ) from error


def _has(dataset: Any, what: str) -> bool:
    return bool(getattr(dataset, f"has_{what}")())


def _read(name: str, whole: Any, parts: dict[str, Any], reading: Reading) -> Iterator[Record]:
    """EnvironmentRefused where the package cannot fetch the set, or lacks what opens it."""
    try:
        yield from _records(whole, parts, reading)
    except WhetError:
        raise
    except Exception as error:  # of many libraries, each with errors of its own
        first = str(error).partition("\n")[0][:200]
        raise EnvironmentRefused(
            f"{name}: ir_datasets could not get it ({type(error).__name__}: {printable(first)}). "
            "Fetch it where there is a network, or as ir-datasets.com says of this set."
        ) from error


def _records(whole: Any, parts: dict[str, Any], reading: Reading) -> Iterator[Record]:
    yield from _texts(whole.docs_iter(), "corpus", "doc_id", reading)
    asked = [part for part in parts.values() if _has(part, "queries")]
    for dataset in asked or [whole]:
        if _has(dataset, "queries"):
            yield from _texts(dataset.queries_iter(), "queries", "query_id", reading)
    for split, part in parts.items():
        name = reading.split(split, f"qrels of {split}")
        base = reading.file(f"qrels of {split}", "row")
        for place, row in enumerate(part.qrels_iter(), base + 1):
            judgment = judgment_of([row.query_id, row.doc_id, row.relevance], name, reading, place)
            if judgment is not None:
                yield judgment


def _texts(rows: Any, table: str, id_name: str, reading: Reading) -> Iterator[Text]:
    base = reading.file(table, "row")
    for place, row in enumerate(rows, base + 1):
        id_, text = id_of(getattr(row, id_name)), row.default_text()
        if id_ is None:
            reading.add("bad id", place, f"id {printable(getattr(row, id_name))}")
        elif reading.usable(text, place, f"the text of {printable(id_)}"):
            yield Text(table, id_, text, place)
