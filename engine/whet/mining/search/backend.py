"""What a way to search is: its name, when it suits, and how it runs.

Shape suffixes: Q queries, N corpus rows, D dimensions, C hints per query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from whet.errors import MiningError
from whet.progress import track
from whet.types import CorpusShard, Embeddings
from whet_kernels.topk.window import Exclude, TopK, Window, window_of

FEW_PRODUCTS = 1 << 36  # fewer multiplications are through before compiled code is loaded
LONG = 1 << 39  # multiplications: three seconds on two cores


Vectors = Embeddings | np.ndarray


@dataclass(frozen=True)
class Task:
    """A search: for each query the best documents that its window allows.

    Vectors come with their ids, or bare. Of a CorpusShard each process holds a part, and rows are
    those of the whole corpus. `hint_QC` (int64, -1 for none) are rows that may be among the
    results, the last refresh's say: good ones save time, bad ones change nothing.
    """

    queries: Vectors
    corpus: Vectors | CorpusShard
    window: Window
    hint_QC: np.ndarray | None = None

    @property
    def query_QD(self) -> np.ndarray:
        """The queries' vectors."""
        return array_of(self.queries)

    @property
    def corpus_ND(self) -> np.ndarray:
        """The corpus's vectors; of a shard this process's."""
        return (
            self.corpus.vectors if isinstance(self.corpus, CorpusShard) else array_of(self.corpus)
        )

    @property
    def has_floor(self) -> bool:
        """Whether any query has a least score."""
        return bool((self.window.floor_Q > -np.inf).any())

    def take(self, queries: np.ndarray) -> Task:
        """The same for some of the queries."""
        hint_QC = None if self.hint_QC is None else self.hint_QC[queries]
        return Task(self.query_QD[queries], self.corpus, self.window.take(queries), hint_QC)


def search_task(
    queries: Vectors,
    corpus: Vectors | CorpusShard,
    *,
    ceiling_Q: np.ndarray | None = None,
    floor_Q: np.ndarray | None = None,
    exclude: Exclude | None = None,
    hint_QC: np.ndarray | None = None,
) -> Task:
    """The search within these thresholds and exclusions. MiningError for vectors that do not fit,
    ValueError for a window that does not.
    """
    width = (
        corpus.vectors.shape[1] if isinstance(corpus, CorpusShard) else array_of(corpus).shape[1]
    )
    if array_of(queries).shape[1] != width:
        raise MiningError(
            f"queries have {array_of(queries).shape[1]} dimensions, the corpus {width}. "
            "Encode both with one model."
        )
    window = window_of(
        len(queries), len(corpus), ceiling_Q=ceiling_Q, floor_Q=floor_Q, exclude=exclude
    )
    return Task(queries, corpus, window, hint_QC)


def array_of(vectors: Vectors | CorpusShard) -> np.ndarray:
    """The bare vectors; of a shard this process's. MiningError if they are no matrix."""
    array = vectors if isinstance(vectors, np.ndarray) else vectors.vectors
    if array.ndim != 2:
        raise MiningError(f"vectors must be [rows, dimensions], are {array.shape}.")
    return array


@contextmanager
def progress(task: Task, total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """A bar for a search that takes more than some seconds on a few cores; for others nothing."""
    if len(task.corpus_ND) * task.query_QD.size < LONG:
        yield int
        return
    with track("Searching", total, unit) as advance:
        yield advance


class Answer(NamedTuple):
    """What a backend found.

    `unseen_Q` is how many rows of the corpus nobody looked at (None: every row was), `note` what
    the user should know of the run.
    """

    top: TopK
    unseen_Q: np.ndarray | None = None
    note: str = ""


class Rescanned:
    """Counts the queries that a search scans again, since too many documents score like the last
    of their results.
    """

    def __init__(self) -> None:
        self.count = 0

    def add(self, queries: int) -> None:
        """So many more."""
        self.count += queries

    def note(self, queries: int) -> str:
        """What the user should know of it, of so many queries in all; nothing where none was."""
        if not self.count:
            return ""
        return f"{self.count:,} of {queries:,} queries were scanned again, with exact scores"


class SearchResult(NamedTuple):
    """A search's result, which backend gave it, why that one, and how many rows it never saw."""

    top: TopK
    backend: str
    why: str
    unseen_Q: np.ndarray | None = None


@dataclass(frozen=True)
class Backend:
    """One way to search.

    `missing()` says what is not there that it needs ("" when all is). `suits(task, k)` says whether
    it should be taken when nobody asks for it, and in either case why.
    """

    name: str
    missing: Callable[[], str]
    suits: Callable[[Task, int], tuple[bool, str]]
    run: Callable[[Task, int], Answer]
