"""A dataset: a corpus, queries and judgments by split, from any format, converted once and
memory-mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path

import numpy as np

from whet.data.build import converted
from whet.data.findings import Findings
from whet.data.readers.detect import find_source
from whet.data.table import TextTable
from whet.errors import ConfigError, DataError
from whet.printable import printable
from whet.storage.places import cache_folder
from whet.types import Qrels


@dataclass(frozen=True)
class Dataset:
    """A corpus, queries, and the judgments of each split, as rows of the two tables.

    `digest` is the SHA-256 of ids, texts and judgments, whatever format they came in.
    """

    name: str
    path: str
    kind: str
    corpus: TextTable
    queries: TextTable
    splits: dict[str, Qrels]
    digest: str
    findings: Findings

    def split(self, name: str) -> Qrels:
        """The judgments of a split. DataError that lists the splits there are, if it is not among
        them.
        """
        if name in self.splits:
            return self.splits[name]
        near = get_close_matches(name, self.splits, 1)
        there = ", ".join(self.splits) or "none, since nothing is judged"
        hint = f"Did you mean {near[0]}?" if near else "Choose one of them."
        raise DataError(f"{printable(self.path)}: has no split {name!r} (splits: {there}). {hint}")


def load_dataset(
    path: str, *, on_problem: str = "refuse", cache_dir: Path | None = None
) -> Dataset:
    """Read a dataset in any known format (see docs of whet.data) from a file, a folder or the hub.

    The first call converts it to memory-mapped tables in `cache_dir` (default: WHET_CACHE or
    ~/.cache/whet); later calls open these, as long as the files hold the same bytes. Tables that
    are not as they were written are converted again, and that is told.
    `on_problem="refuse"` raises DataError with all problems found; "drop" leaves the rows at fault
    out (`findings` tells which).
    """
    if on_problem not in ("refuse", "drop"):
        raise ConfigError(f"data.on_problem={on_problem!r} is unknown. Use refuse or drop.")
    source = find_source(str(path))
    folder, about = converted(source, cache_dir or cache_folder())
    findings = Findings.from_dict(about["findings"])
    if on_problem == "refuse":
        findings.refuse(str(path))
    corpus, queries = TextTable(folder / "corpus.arrow"), TextTable(folder / "queries.arrow")
    splits = {
        split: Qrels(*np.load(folder / f"split-{number}.npy", mmap_mode="r"))
        for number, split in enumerate(about["splits"])
    }
    return Dataset(
        name=_name(source.root, str(path)),
        path=str(path),
        kind=about["kind"],
        corpus=corpus,
        queries=queries,
        splits=splits,
        digest=_digest(corpus, queries, splits),
        findings=findings,
    )


def _name(root: Path, path: str) -> str:
    """A short name for run folders and reports: the folder's, or the file's without endings."""
    given = Path(path)
    return printable(given.name.split(".")[0] if given.is_file() else root.resolve().name)


def _digest(corpus: TextTable, queries: TextTable, splits: dict[str, Qrels]) -> str:
    digest = sha256(f"{corpus.digest} {queries.digest}".encode())
    for name, qrels in sorted(splits.items()):
        digest.update(f" {name} {len(qrels)} ".encode())
        for column in (qrels.query_rows_M, qrels.doc_rows_M, qrels.relevance_M):
            digest.update(np.ascontiguousarray(column, "<i8").data)
    return digest.hexdigest()
