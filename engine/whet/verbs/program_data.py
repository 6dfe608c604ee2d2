"""Data that a program holds: rows, tables and judgments of Python, written once as files.

What a job reads is then a path like any other: it can be looked at, resumed with and reproduced.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from whet.config.sets import listed
from whet.data.load import Dataset
from whet.errors import DataError, EnvironmentRefused
from whet.printable import printable
from whet.storage.disk import disk_errors_name
from whet.storage.places import cache_folder

TAKES = (
    "Give a path, rows (a list of dicts), a pandas DataFrame, a datasets.Dataset or DatasetDict, "
    "or (corpus, queries, qrels)"
)
PARTS = 3  # corpus, queries, judgments
PATHS = str, os.PathLike, Dataset  # of several data sets, for a fit


def data_path(data: Any) -> str:
    """The path of `data`: a path stays as it is; what a program holds is written below $WHET_CACHE.

    - rows: dicts by column name, as a list, a pandas DataFrame or a `datasets.Dataset`
    - splits: a dict (or DatasetDict) of split -> rows
    - (corpus, queries, qrels): texts by id, and query id -> {document id: relevance}, or those by
      split
    - a list of paths: several data sets, for a fit

    The same content has the same path. DataError for anything else, and where there are no rows.
    """
    if isinstance(data, str | os.PathLike):
        return os.fspath(data)
    if isinstance(data, Dataset):
        return data.path
    if isinstance(data, list) and data and all(isinstance(one, PATHS) for one in data):
        return listed([data_path(one) for one in data])
    if isinstance(data, tuple) and len(data) == PARTS:
        return _written("tables", _beir_files(*data))
    splits = data if isinstance(data, Mapping) else {"train": data}
    files = {
        f"{_file_name(split)}.jsonl": _lines(_rows(rows, str(split)))
        for split, rows in splits.items()
    }
    if not files:
        raise DataError(f"data is an empty dict. {TAKES}.")
    return _written("rows", files)


def _rows(rows: Any, split: str) -> Iterator[dict[str, Any]]:
    """The rows of one split as dicts."""
    if _of_library(rows, "pandas"):
        rows = rows.to_dict("records")
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise DataError(f"{split} is of type {type(rows).__name__}. {TAKES}.")
    count = 0
    for row in rows:
        if not isinstance(row, Mapping):
            raise DataError(
                f"row {count} of {split} is of type {type(row).__name__}, and rows are dicts such "
                f'as {{"query": ..., "positive": ...}}. {TAKES}.'
            )
        yield {str(name): _plain(value) for name, value in row.items() if not _is_none(value)}
        count += 1
    if not count:
        raise DataError(f"{split} has no rows. Give it some.")


def _beir_files(corpus: Any, queries: Any, qrels: Any) -> dict[str, Iterable[str]]:
    """The files of a BEIR folder."""
    if not isinstance(qrels, Mapping) or not qrels:
        raise DataError(f"qrels are a {type(qrels).__name__}, or empty. {TAKES}.")
    nested = all(_is_by_query(judged) for judged in qrels.values())
    splits = qrels if nested else {"train": qrels}
    files: dict[str, Iterable[str]] = {
        "corpus.jsonl": _lines(_texts(corpus, "corpus")),
        "queries.jsonl": _lines(_texts(queries, "queries")),
    }
    files |= {
        f"qrels/{_file_name(split)}.tsv": _judgments(judged) for split, judged in splits.items()
    }
    return files


def _file_name(split: Any) -> str:
    """A split's name as that of a file. DataError where it cannot be one."""
    if not isinstance(split, str) or not re.fullmatch(r"[\w.-]{1,100}", split) or split[0] == ".":
        raise DataError(f"{printable(repr(split)[:60])} is no name of a split. {TAKES}.")
    return split


def _is_by_query(judged: Any) -> bool:
    """Whether it holds judgments by query, as a split does: {query: {document: relevance}}."""
    return isinstance(judged, Mapping) and all(
        isinstance(documents, Mapping) for documents in judged.values()
    )


def _texts(table: Any, name: str) -> Iterator[dict[str, Any]]:
    """Rows with `_id`, `text` and perhaps `title`, from texts (or such rows) by id."""
    if not isinstance(table, Mapping):
        yield from _rows(table, name)
        return
    if not table:
        raise DataError(f"{name} is empty. Give it some texts.")
    for id_, text in table.items():
        row = text if isinstance(text, Mapping) else {"text": text}
        yield {"_id": str(id_), **{str(key): _plain(value) for key, value in row.items()}}


def _judgments(judged: Mapping[Any, Any]) -> Iterator[str]:
    yield "query-id\tcorpus-id\tscore\n"
    for query, documents in judged.items():
        if not isinstance(documents, Mapping):
            raise DataError(
                f"the judgments of query {printable(query)} are a {type(documents).__name__}, and "
                "should be {document id: relevance}."
            )
        for document, relevance in documents.items():
            yield f"{query}\t{document}\t{_plain(relevance)}\n"


def _lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        try:
            yield json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise DataError(
                f"a row with {', '.join(map(printable, row))} holds what no JSON can ({error}). "
                "Give texts, numbers and lists of them."
            ) from error


def _plain(value: Any) -> Any:
    """A value of numpy or pandas as Python's own."""
    if _of_library(value, "numpy", "pandas") and hasattr(value, "tolist"):
        return value.tolist()
    return value


def _is_none(value: Any) -> bool:
    """Whether a cell is empty: a table has NaN, or a value of its own, where a row has no text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return type(value).__name__ in ("NAType", "NaTType")


def _of_library(value: Any, *names: str) -> bool:
    return type(value).__module__.partition(".")[0] in names


def _written(kind: str, files: Mapping[str, Iterable[str]]) -> str:
    """The folder of these files, named by what is in them; it is whole or absent."""
    home = cache_folder() / "given"
    try:
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".part-", dir=home))
    except OSError as error:
        remedy = "Set WHET_CACHE to a folder that can be written"
        raise EnvironmentRefused(f"{home}: {error.strerror}. {remedy}.") from error
    digest = hashlib.sha256()
    try:
        with disk_errors_name(home):
            for name, lines in files.items():
                (draft / name).parent.mkdir(exist_ok=True)
                digest.update(f"{name}\0".encode())
                with (draft / name).open("wb") as file:
                    for line in lines:
                        content = line.encode("utf-8", "surrogatepass")
                        digest.update(content)
                        file.write(content)
            folder = home / f"{kind}_{digest.hexdigest()[:12]}"
            if not folder.exists():
                draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return str(folder)
