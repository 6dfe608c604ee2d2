"""A small part of a collection, for benchmarks that ask about speed."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path


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
