"""The collections the benchmarks run on: found in a folder, and cut to a fixed sample where said.

Expects BEIR folders (corpus.jsonl.gz, queries.jsonl.gz, qrels/*.tsv) named as in RECIPES below the
folder given with --data.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path


@dataclass(frozen=True)
class Recipe:
    """One collection: documents kept (0: all), tokens a text is cut to (0: as the model says)."""

    name: str
    documents: int = 0
    max_length: int = 0


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("nl2bash"),
        Recipe("tldr-cmd"),
        Recipe("scifact"),
        Recipe("medquad", documents=10_000, max_length=128),
        Recipe("debian-desc", documents=10_000),
        Recipe("py-doc2code", documents=10_000),
    )
}


def prepared(recipe: Recipe, root: Path, work: Path) -> Path:
    """The collection's folder; a sampled one is written below `work` once.

    The sample holds the documents whose ids hash lowest, so it is the same everywhere, and the
    judgments whose document is in it (train, dev and test only).
    """
    source = root / recipe.name
    if not recipe.documents:
        return source
    target = work / f"{recipe.name}-{recipe.documents}"
    if (target / "done").exists():
        return target
    (target / "qrels").mkdir(parents=True, exist_ok=True)
    with gzip.open(source / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        docs = {json.loads(line)["_id"]: line for line in file}
    kept = set(sorted(docs, key=_hash)[: recipe.documents])
    with gzip.open(target / "corpus.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(line for doc_id, line in docs.items() if doc_id in kept)
    asked = set()
    for split in ("train", "dev", "test"):
        with (source / "qrels" / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file, delimiter="\t")
        rows = [row for row in rows if row[1] in kept]
        asked |= {row[0] for row in rows}
        text = "".join("\t".join(row) + "\n" for row in [head, *rows])
        (target / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")
    with (
        gzip.open(source / "queries.jsonl.gz", "rt", encoding="utf-8") as queries,
        gzip.open(target / "queries.jsonl.gz", "wt", encoding="utf-8") as file,
    ):
        file.writelines(line for line in queries if json.loads(line)["_id"] in asked)
    (target / "done").touch()
    return target


def _hash(doc_id: str) -> bytes:
    return blake2b(doc_id.encode(), digest_size=8).digest()


def reduced(source: Path, target: Path, *, train: int, test: int) -> Path:
    """A small part of a collection: its first train and test queries, and what they are judged
    with; written to `target` once.
    """
    if target.exists():
        return target
    draft = target.with_suffix(".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "qrels").mkdir(parents=True)
    queries, docs = set(), set()
    for split, count in (("train", train), ("test", test)):
        header, *rows = (source / f"qrels/{split}.tsv").read_text().splitlines()
        wanted = set(list(dict.fromkeys(row.split("\t")[0] for row in rows))[:count])
        kept = [row for row in rows if row.split("\t")[0] in wanted]
        (draft / f"qrels/{split}.tsv").write_text("\n".join([header, *kept]) + "\n")
        queries |= wanted
        docs |= {row.split("\t")[1] for row in kept}
    for name, ids in (("queries", queries), ("corpus", docs)):
        with gzip.open(source / f"{name}.jsonl.gz", "rt") as lines:
            kept = [line for line in lines if json.loads(line)["_id"] in ids]
        (draft / f"{name}.jsonl").write_text("".join(kept))
    draft.rename(target)
    return target
