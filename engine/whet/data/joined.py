"""Several data sets as one: each is read as alone, and one numbering of the rows goes over all.

Row r of the second set is row r plus the size of the first. An id of the whole is the set's name
and the id in it: `b/123`. Texts stay where they are.

Shape suffixes: S sets, N rows of the joined table, M rows or ids asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256

import numpy as np

from whet.config import DataConfig
from whet.config.sets import check_weights, paths_of
from whet.data.findings import Findings
from whet.data.load import Dataset, read_dataset
from whet.data.positives import same_text
from whet.data.table import TextTable, groups_of
from whet.errors import ConfigError
from whet.printable import printable
from whet.processes.crew import Crew
from whet.types import Qrels

SEPARATOR = "/"  # between a set's name, which has none, and an id


class JoinedTable(TextTable):
    """The rows of several tables, one after another."""

    def __init__(self, tables: Mapping[str, TextTable]) -> None:
        """`tables` by the names of their sets."""
        self.tables = dict(tables)
        self.starts_S1 = np.cumsum([0, *map(len, self.tables.values())])
        digests = [[name, table.digest] for name, table in self.tables.items()]
        self.digest = sha256(json.dumps(digests).encode()).hexdigest()
        self.has_pictures = any(table.has_pictures for table in self.tables.values())
        self._columns_B = [
            [block for table in self.tables.values() for block in table.column_blocks(column)]
            for column in range(3 if self.has_pictures else 2)
        ]
        self._starts_B = np.cumsum([0] + [len(block) for block in self._columns_B[0]])

    def __reduce__(self) -> tuple[type[JoinedTable], tuple[dict[str, TextTable]]]:  # type: ignore[override]
        return JoinedTable, (self.tables,)

    def id(self, row: int) -> str:
        """The id of a row, with its set's name."""
        return self.ids_of([row])[0]

    def ids_of(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The ids of the given rows, in the order given."""
        set_M = np.searchsorted(self.starts_S1, rows, side="right") - 1
        names, own = list(self.tables), super().ids_of(rows)
        return [f"{names[at]}{SEPARATOR}{id_}" for at, id_ in zip(set_M.tolist(), own, strict=True)]

    def blocks(self) -> Iterator[tuple[list[str], list[str]]]:
        """The whole table in order, (ids, texts) of a few thousand rows at a time."""
        for name, table in self.tables.items():
            for ids, texts in table.blocks():
                yield [f"{name}{SEPARATOR}{id_}" for id_ in ids], texts

    def id_blocks(self) -> Iterator[list[str]]:
        """The ids of a few thousand rows at a time, in order."""
        for name, table in self.tables.items():
            for ids in table.id_blocks():
                yield [f"{name}{SEPARATOR}{id_}" for id_ in ids]

    def give_back(self) -> None:
        """Take what was read out of memory."""
        for table in self.tables.values():
            table.give_back()

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """The row of each id, int64 [M], -1 where there is none."""
        rows_M = np.full(len(ids), -1, np.int64)
        parted = [id_.partition(SEPARATOR) for id_ in ids]
        for (name, table), start in zip(self.tables.items(), self.starts_S1.tolist(), strict=False):
            at_M = np.array([at for at, part in enumerate(parted) if part[0] == name], np.int64)
            own_M = table.rows_of([parted[at][2] for at in at_M.tolist()])
            rows_M[at_M] = np.where(own_M >= 0, own_M + start, -1)
        return rows_M

    def group_of_N(self) -> np.ndarray:
        """For each row the smallest row of equal text, also of another set, int64 [N]."""
        return self._groups_N

    def text_hashes(self, crew: Crew | None = None) -> np.ndarray:
        """The hash of each normalised text, uint64 [N]."""
        return self._text_hashes_N

    @cached_property
    def _text_hashes_N(self) -> np.ndarray:
        return super().text_hashes()

    @cached_property
    def _groups_N(self) -> np.ndarray:
        return groups_of(self._text_hashes_N)


def read_data(config: DataConfig) -> Dataset:
    """The data of a fit: one set, or several as one. Raises what `read_dataset` does, and
    ConfigError for weights that do not fit, and for two sets of one name.
    """
    paths = paths_of(config.path)
    if config.path == paths[0]:
        return read_dataset(config)
    check_weights(config)
    return joined([read_dataset(replace(config, path=path, weights=[])) for path in paths], config)


def named(parts: Sequence[Dataset]) -> dict[str, Dataset]:
    """Data sets by their names, as reports and ids have them. ConfigError where two have one."""
    by_name: dict[str, Dataset] = {}
    for part in parts:
        name = part.name.replace(SEPARATOR, "-")
        if name in by_name and by_name[name].path == part.path:
            raise ConfigError(f"data names {printable(part.path)} twice. Leave one of them out.")
        if name in by_name:
            raise ConfigError(
                f"data has two sets called {name}: {printable(by_name[name].path)} and "
                f"{printable(part.path)}. Reports call them by their names: rename one's folder."
            )
        by_name[name] = replace(part, name=name)
    return by_name


def joined(each: Sequence[Dataset], config: DataConfig) -> Dataset:
    """Data sets as one. ConfigError where two have one name."""
    by_name = named(each)
    parts = list(by_name.values())
    corpus = JoinedTable({name: part.corpus for name, part in by_name.items()})
    queries = JoinedTable({name: part.queries for name, part in by_name.items()})
    names = dict.fromkeys(name for part in parts for name in part.splits)
    none = Qrels(*(np.empty(0, np.int64) for _ in range(3)))
    digests = [[name, part.digest] for name, part in by_name.items()]
    whole = Dataset(
        name="+".join(by_name),
        path=config.path,
        kind="; ".join(f"{name}: {part.kind}" for name, part in by_name.items()),
        corpus=corpus,
        queries=queries,
        splits={},
        digest=sha256(json.dumps(digests).encode()).hexdigest(),
        findings=Findings(),
        own_Q=same_text(queries.text_hashes(), corpus.text_hashes()),
        home_N=_homes(parts, corpus),
        parts=tuple(parts),
    )
    splits = {
        name: joined_qrels(whole, [part.splits.get(name, none) for part in parts]) for name in names
    }
    return replace(whole, splits=splits)


def _homes(parts: Sequence[Dataset], corpus: JoinedTable) -> np.ndarray | None:
    if all(part.home_N is None for part in parts):
        return None
    homes = (np.arange(len(p.corpus)) if p.home_N is None else p.home_N for p in parts)
    starts = corpus.starts_S1.tolist()
    return np.concatenate([home + start for home, start in zip(homes, starts, strict=False)])


def starts_of(table: TextTable) -> np.ndarray:
    """Where the rows of each set begin, and where the last one's end: int64 [S + 1]."""
    return table.starts_S1 if isinstance(table, JoinedTable) else np.array([0, len(table)])


def joined_qrels(data: Dataset, each: Sequence[Qrels]) -> Qrels:
    """Judgments of each set, by its own rows, as judgments of the whole."""
    starts = zip(starts_of(data.queries).tolist(), starts_of(data.corpus).tolist(), strict=True)
    columns = [
        (qrels.query_rows_M + query, qrels.doc_rows_M + doc, qrels.relevance_M)
        for qrels, (query, doc) in zip(each, starts, strict=False)
    ]
    query_M, doc_M, relevance_M = (np.concatenate(column) for column in zip(*columns, strict=True))
    return Qrels(query_M, doc_M, relevance_M)


def parted_qrels(data: Dataset, qrels: Qrels) -> list[Qrels]:
    """Judgments of the whole as those of each set, by its own rows."""
    query_S1, doc_S1 = starts_of(data.queries).tolist(), starts_of(data.corpus).tolist()
    parts = []
    for place, doc in enumerate(doc_S1[:-1]):
        first, last = np.searchsorted(qrels.query_rows_M, query_S1[place : place + 2])
        own = qrels.only(np.arange(first, last))
        parts.append(
            Qrels(own.query_rows_M - query_S1[place], own.doc_rows_M - doc, own.relevance_M)
        )
    return parts


def pairs_per_set(queries: TextTable, query_rows_P: np.ndarray) -> list[int]:
    """How many of some training pairs, given by their query rows, ascending, are of each set."""
    counts: list[int] = np.diff(np.searchsorted(query_rows_P, starts_of(queries))).tolist()
    return counts
