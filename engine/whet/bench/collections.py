"""The collections that recipes name: BEIR folders below one folder, whole or a part of one.

`NAME` is the folder itself. `NAME@10000` is a fixed sample of so many documents, and `NAME@en` the
documents and queries of one language; both are written once, beside the results.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from whet.errors import DataError
from whet.storage.commit import commit_folder

Line = dict[str, Any]  # of a jsonl file
Rows = list[list[str]]  # of a qrels file: query id, document id, relevance


def collection(root: Path, name: str, work: Path) -> Path:
    """The folder of a collection; a part is written below `work` if it is not there yet.

    Raises DataError where `root` lacks it.
    """
    whole, _, part = name.partition("@")
    source = root / whole
    if not source.is_dir():
        raise DataError(
            f"{source}: no such collection. Name the folder that holds {whole} with collections=, "
            "or leave its recipes out with only=[...] (docs/benchmarks.md says what each holds)."
        )
    target = work / name
    if not part or target.is_dir():
        return target if part else source
    docs, queries, splits = (
        sample(source, int(part)) if part.isdigit() else language_part(source, part)
    )
    with commit_folder(target, {"of": whole, "part": part}) as draft:
        _write(draft / "corpus.jsonl", docs)
        _write(draft / "queries.jsonl", queries)
        (draft / "qrels").mkdir()
        for split, rows in splits.items():
            lines = ["query-id\tcorpus-id\tscore", *("\t".join(row) for row in rows)]
            (draft / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def sample(source: Path, count: int) -> tuple[list[Line], list[Line], dict[str, Rows]]:
    """The documents whose ids hash lowest, so the same everywhere; the judgments of train, dev and
    test about them; the queries these are of.
    """
    docs = list(_read(source / "corpus.jsonl"))
    kept = set(sorted((doc["_id"] for doc in docs), key=_hash)[:count])
    splits = {
        split: [row for row in rows if row[1] in kept]
        for split in ("train", "dev", "test")
        if (rows := _qrels(source, split))
    }
    asked = {row[0] for rows in splits.values() for row in rows}
    queries = [row for row in _read(source / "queries.jsonl") if row["_id"] in asked]
    return [doc for doc in docs if doc["_id"] in kept], queries, splits


def language_part(source: Path, language: str) -> tuple[list[Line], list[Line], dict[str, Rows]]:
    """One language, ids of which begin with its name. Of queries with the same text the last alone
    is asked, as in mteb's XQuADRetrieval.
    """
    rows = _qrels(source, f"test-{language}")
    if not rows:
        raise DataError(f"{source}: has no qrels/test-{language}.tsv. Choose another language.")
    asked = {row[0] for row in rows}
    by_text = {row["text"]: row for row in _read(source / "queries.jsonl") if row["_id"] in asked}
    kept = {row["_id"] for row in by_text.values()}
    start = f"{language}-"
    docs = [doc for doc in _read(source / "corpus.jsonl") if doc["_id"].startswith(start)]
    queries = list(by_text.values())
    return docs, queries, {"test": [row for row in rows if row[0] in kept]}


def _hash(doc_id: str) -> bytes:
    return blake2b(doc_id.encode(), digest_size=8).digest()


def _read(path: Path) -> Iterator[Line]:
    """The lines of a jsonl file, gzipped or not."""
    packed = path.with_name(f"{path.name}.gz")
    text = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    yield from map(json.loads, text.splitlines())


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def _qrels(source: Path, split: str) -> Rows:
    path = source / "qrels" / f"{split}.tsv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
