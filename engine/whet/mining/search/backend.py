"""What a way to search is: its name, when it suits, and how it runs.

Shape suffixes: Q queries, N corpus rows, D dimensions, C hints a query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from whet.progress import track
from whet_kernels.topk.window import TopK, Window

LONG = 1 << 39  # multiplications: three seconds on two cores


class Task(NamedTuple):
    """A search: the k best rows of the corpus for each query that its window allows.

    `hint_QC` are rows that may be among the results, -1 for none: good ones save time.
    """

    query_QD: np.ndarray
    corpus_ND: np.ndarray
    k: int
    window: Window
    hint_QC: np.ndarray | None = None

    @property
    def has_floor(self) -> bool:
        """Whether any query has a least score."""
        return bool((self.window.floor_Q > -np.inf).any())

    def take(self, queries: np.ndarray) -> Task:
        """The same for some of the queries."""
        hint_QC = None if self.hint_QC is None else self.hint_QC[queries]
        part = self.query_QD[queries], self.corpus_ND, self.k, self.window.take(queries)
        return Task(*part, hint_QC)


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


class SearchResult(NamedTuple):
    """A search's result, which backend gave it, why that one, and how many rows it never saw."""

    top: TopK
    backend: str
    why: str
    unseen_Q: np.ndarray | None = None


@dataclass(frozen=True)
class Backend:
    """One way to search.

    `missing()` says what is not there that it needs ("" when all is). `suits(task)` says whether it
    should be taken when nobody asks for it, and in either case why.
    """

    name: str
    missing: Callable[[], str]
    suits: Callable[[Task], tuple[bool, str]]
    run: Callable[[Task], Answer]
