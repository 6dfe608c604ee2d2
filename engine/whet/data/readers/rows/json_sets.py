"""A data set in one JSON object: queries, documents and which answer which, by their ids.

LlamaIndex's pairs (`queries`, `corpus`, `relevant_docs`), and NeMo's and Nemotron's training files
(`data` with pos_doc and neg_doc, `corpus` with the folders of the documents).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whet.data.findings import excerpt
from whet.data.readers.records import Reading, Record, Text, hidden
from whet.data.readers.rows.json_files import json_values
from whet.data.readers.rows.kinds import rows_of
from whet.data.readers.values import judgment_of, table_row
from whet.data.text import id_of
from whet.errors import DataError
from whet.printable import printable
from whet.storage.readable import readable_json

METADATA = "merlin_metadata.json"
_JUDGED = ("relevant_docs", "qrels", "relevant", "judgments", "relevance")
_SIDES = (("pos_doc", 1), ("neg_doc", 0))


def corpus_files(path: Path) -> list[Path]:
    """The files of documents that lie beside a NeMo training file and that it names."""
    _, value = next(json_values(path))
    if "data" not in value:
        return []
    return [file for folder in _folders(path, value) for file in _documents_in(folder)]


def set_records(path: Path, name: str, split: str, reading: Reading) -> Iterator[Record]:
    """The texts and judgments of one object; places are numbers of entries."""
    _, value = next(json_values(path))
    place = reading.file(name, "entry")
    if "data" in value:
        yield from _nemo_records(path, value, split, reading, place)
        return
    for table in ("corpus", "queries"):
        for number, (id_, item) in enumerate(_entries(value[table]), 1):
            row = item if isinstance(item, dict) else {"text": item}
            text = table_row({"_id": id_, **row}, table, reading, place + number)
            if text is not None:
                yield text
    judged = next((value[key] for key in _JUDGED if key in value), None)
    if judged is None:
        raise DataError(
            f"{printable(path)}: has queries and corpus and says of no document that it answers a "
            "query. Add relevant_docs: {query id: [document ids]}."
        )
    for number, (query_id, docs) in enumerate(_entries(judged), 1):
        grades = docs if isinstance(docs, dict) else dict.fromkeys(_ids(docs), 1)
        for doc_id, grade in grades.items():
            judgment = judgment_of([query_id, doc_id, grade], split, reading, place + number)
            if judgment is not None:
                yield judgment


def _entries(value: Any) -> Iterator[tuple[Any, Any]]:
    """(id, entry) of an object by id, or of a list of objects with ids."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        for item in value:
            known = item if isinstance(item, dict) else {}
            yield known.get("_id", known.get("id", known.get("query_id"))), item


def _ids(docs: Any) -> list[Any]:
    listed = docs if isinstance(docs, list) else [docs]
    return [item if isinstance(item, (str, int)) else str(item) for item in listed]


def _nemo_records(
    path: Path, value: dict[str, Any], split: str, reading: Reading, place: int
) -> Iterator[Record]:
    folders = _folders(path, value)
    names = {_corpus_id(folder): folder for folder in folders}
    several = len(names) > 1
    for corpus, folder in names.items():
        for file in _documents_in(folder):
            name = f"{folder.name}/{file.name}"
            for at, row in rows_of(file, name, reading):
                text = table_row(row, "corpus", reading, at)
                if text is not None:
                    id_ = f"{corpus}/{text.id}" if several else text.id
                    yield text._replace(id=id_)
    for number, row in enumerate(value["data"], 1):
        query = row.get("question", row.get("query")) if isinstance(row, dict) else None
        if not reading.usable(query, place + number, "'question'"):
            continue
        query_id = id_of(row.get("question_id", number))
        if query_id is None:
            reading.add("bad id", place + number, f"question_id {excerpt(row['question_id'])}")
            continue
        yield Text("queries", query_id, str(query), place + number)
        prefix = f"{row.get('corpus_id')}/" if several else ""
        for side, grade in _SIDES:
            for doc in _listed(row.get(side)):
                raw = doc.get("id") if isinstance(doc, dict) else doc
                doc_id = f"{prefix}{raw}" if several else raw
                judgment = judgment_of([query_id, doc_id, grade], split, reading, place + number)
                if judgment is not None:
                    yield judgment


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _folders(path: Path, value: dict[str, Any]) -> list[Path]:
    """The folders of documents, beside the file: a path elsewhere is looked for by its name there.

    A stranger's file may name any folder of this machine, so none outside is read.
    """
    folders = []
    for entry in _listed(value["corpus"]):
        named = entry.get("path") if isinstance(entry, dict) else entry
        home = path.parent.resolve()
        candidates = [home / str(named), home / Path(str(named)).name]
        inside = [c for c in candidates if c.resolve().is_relative_to(home) and c.is_dir()]
        if not inside:
            raise DataError(
                f"{printable(path)}: its documents are in {printable(named)}, which is not beside "
                "it. Put that folder next to the file."
            )
        folders.append(inside[0])
    return folders


def _corpus_id(folder: Path) -> str:
    about = folder / METADATA
    if not about.is_file():
        return folder.name
    noted = readable_json(about, remedy=f"Write {METADATA} anew", error=DataError)
    return str(noted.get("corpus_id", folder.name))


def _documents_in(folder: Path) -> list[Path]:
    endings = (".parquet", ".jsonl", ".jsonl.gz", ".json")
    files = sorted(
        path
        for path in folder.iterdir()
        if path.name.endswith(endings)
        and not path.name.endswith("metadata.json")
        and not hidden(path)
    )
    if not files:
        raise DataError(f"{printable(folder)}: holds no parquet or jsonl file. Give it documents.")
    return files
