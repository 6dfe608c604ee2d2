"""A dataset: a corpus, queries and judgments by split, from any format, converted once and
memory-mapped.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from whet.config import DataConfig
from whet.config.given import configured
from whet.config.sets import refuse_several
from whet.data.build import HOMES, OWN, converted
from whet.data.findings import Findings
from whet.data.judgments import with_added
from whet.data.positives import positives_of
from whet.data.readers.detect import find_source
from whet.data.readers.files.documents import READERS, can_read
from whet.data.readers.passages import of_documents
from whet.data.readers.records import Source
from whet.data.readers.rows.kinds import split_name
from whet.data.scores import TeacherScores, kept_scores
from whet.data.table import TextTable
from whet.errors import ConfigError, DataError
from whet.printable import printable
from whet.progress import say
from whet.storage.places import cache_folder, user_path
from whet.types import Positives, Qrels


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
    own_Q: np.ndarray  # for each query the first document of the same text, -1 where there is none
    home_N: np.ndarray | None = None  # for each passage its document's first; None without passages
    scores: TeacherScores | None = None  # a teacher's, where the data came with some
    parts: tuple[Dataset, ...] = ()  # where several data sets are one: those (data/joined.py)

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {len(qrels):,}" for name, qrels in self.splits.items())
        return (
            f"Dataset({self.name!r}: {len(self.corpus):,} documents, {len(self.queries):,} queries"
            f"; judgments: {splits or 'none'})"
        )

    @property
    def has_pictures(self) -> bool:
        """Whether some of its documents or queries are pictures."""
        return self.corpus.has_pictures or self.queries.has_pictures

    @property
    def each(self) -> tuple[Dataset, ...]:
        """The data sets it is of: itself, where it is one."""
        return self.parts or (self,)

    def positives(self, qrels: Qrels) -> Positives:
        """What is relevant to each query by these judgments, and its own text, which is no negative
        of it.
        """
        return positives_of(qrels, self.queries, self.corpus, self.own_Q)

    def split(self, name: str) -> Qrels:
        """The judgments of a split. DataError that lists the splits there are, if it is not among
        them.
        """
        if name in self.splits:
            return self.splits[name]
        alike = [split for split in self.splits if split_name(split) == split_name(name)]
        if alike:
            return self.splits[alike[0]]
        raise DataError(f"{printable(self.path)}: {self._lacks(name)}")

    def _lacks(self, name: str) -> str:
        if not self.splits:
            return (
                f"has {len(self.corpus):,} documents and no judged query. Judge some: whet label "
                f"data={printable(self.path)}. Or add queries.jsonl and qrels/train.tsv."
            )
        near = get_close_matches(name, self.splits, 1)
        option = "data.train_split" if name == "train" else "data.eval_split"
        hint = (
            f"Did you mean {near[0]}?"
            if near
            else f"Say which: {option}={next(iter(self.splits))}."
        )
        return f"has no split {name!r} (splits: {', '.join(self.splits)}). {hint}"


def open_dataset(config: DataConfig, *, cache_dir: Path | None = None) -> Dataset:
    """Read the data of a job, and tell what was found besides problems: columns and files that are
    not read, clicks taken as judgments, and so on. Raises what `load_dataset` raises.
    """
    data = read_dataset(config, cache_dir=cache_dir)
    tell_remarks(data)
    return data


def refuse_pictures(data: Dataset, what: str) -> None:
    """ConfigError where the data hold pictures, for a verb (`what`) that is for texts."""
    if data.has_pictures:
        raise ConfigError(
            f"{printable(data.path)}: holds pictures, and {what} is for texts. docs/pictures.md "
            "says what can be done with pictures."
        )


def tell_remarks(data: Dataset) -> None:
    """Say what was found besides problems, if anything was."""
    for part in data.each:
        remarks = part.findings.remarks()
        if remarks:
            say(f"{part.path}: {remarks}")


def load_dataset(
    path: str, *, on_problem: str = "refuse", cache_dir: Path | None = None, **options: Any
) -> Dataset:
    """Read a dataset in any known format (docs/data.md) from a file, a folder or the hub.

    The first call converts it to memory-mapped tables in `cache_dir` (default: WHET_CACHE or
    ~/.cache/whet); later calls open these, as long as the files hold the same bytes. Tables that
    are not as they were written are converted again, and that is told.
    `on_problem="refuse"` raises DataError with all problems found; "drop" leaves the rows at fault
    out (`findings` tells which). `options` are others of DataConfig: `query="Question"`.
    """
    if on_problem not in ("refuse", "drop"):
        raise ConfigError(f"data.on_problem={on_problem!r} is unknown. Use refuse or drop.")
    if isinstance(named := options.get("negatives"), (list, tuple)):
        options["negatives"] = ",".join(named)
    config = configured(DataConfig(str(path), on_problem=on_problem), options)
    return read_dataset(config, cache_dir=cache_dir)


def read_dataset(config: DataConfig, *, cache_dir: Path | None = None) -> Dataset:
    """The same by a configuration, and telling nothing."""
    refuse_several(config)
    path = config.path
    source = find_source(path, config)
    folder, about = converted(source, cache_dir or cache_folder())
    findings = Findings.from_dict(about["findings"])
    _add_of_this_place(findings, source, judged=bool(about["splits"]))
    if config.on_problem == "refuse":
        findings.refuse(path)
    corpus, queries = TextTable(folder / "corpus.arrow"), TextTable(folder / "queries.arrow")
    splits = {
        split: Qrels(*np.load(folder / f"split-{number}.npy", mmap_mode="r"))
        for number, split in enumerate(about["splits"])
    }
    if config.added is not None:
        _add_judgments(splits, config, corpus=corpus, queries=queries)
    home_N = np.load(folder / HOMES, mmap_mode="r") if source.passages else None
    if home_N is not None:
        splits = {name: of_documents(qrels, home_N) for name, qrels in splits.items()}
    return Dataset(
        name=_name(source.root, path),
        path=path,
        kind=about["kind"],
        corpus=corpus,
        queries=queries,
        splits=splits,
        digest=_digest(corpus, queries, splits),
        findings=findings,
        own_Q=np.load(folder / OWN, mmap_mode="r"),
        home_N=home_N,
        scores=kept_scores(folder),
    )


def _add_judgments(
    splits: dict[str, Qrels], config: DataConfig, *, corpus: TextTable, queries: TextTable
) -> None:
    """Add those of data.added to the split that is learned from, or make it of them."""
    alike = (name for name in splits if split_name(name) == split_name(config.train_split))
    name = config.train_split if config.train_split in splits else next(alike, config.train_split)
    before = splits.get(name, Qrels(*(np.empty(0, np.int64) for _ in range(3))))
    splits[name] = with_added(before, user_path(str(config.added)), queries, corpus)


def _add_of_this_place(findings: Findings, source: Source, *, judged: bool) -> None:
    """What is found in the folder itself and not in what was read: other folders may hold the same
    bytes, and share the tables.
    """
    name = printable(source.root.resolve().name)
    if not judged and not findings.count("empty split"):
        findings.add("no judgments", name, "no query is judged")
    by_ending: dict[str, list[str]] = defaultdict(list)
    for file in source.left_out:
        by_ending[Path(file).suffix.lower() or "without an ending"].append(file)
    for ending, files in sorted(by_ending.items(), key=lambda item: -len(item[1])):
        examples = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
        count = f"{len(files):,} file{'s' if len(files) > 1 else ''} {ending}"
        kind = "document not read" if ending in READERS and not can_read(Path(files[0])) else ""
        findings.add(kind or "file not read", name, f"{count} not read: {examples}")


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
