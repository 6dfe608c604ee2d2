"""How often each word stands in a block of documents: all that BM25 needs of them, and nothing of
the rest of the corpus.

So a block is counted by itself, in any process, and goes with any other blocks. A word is its
64-bit hash: in a corpus of a million words the odds that two share one are 1 in 37 million.

Shape suffixes: N documents of the block, V words of the block, E entries (a word in a document), M
words of a batch of texts, each as often as it stands there, A words asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from whet.data.text import hash64
from whet.evaluation.lexical.languages import word_ids
from whet.evaluation.lexical.name_parts import with_parts

BLOCK = 16_384  # documents; their rows in the block fit in 16 bits
READ = 64  # documents read at a time
BATCH = 1 << 21  # characters whose words are in memory as Python's


class Documents(Protocol):
    """What is read of a corpus."""

    def __len__(self) -> int:
        """How many documents there are."""
        ...

    def texts(self, rows: np.ndarray) -> list[str]:
        """The texts of the rows."""
        ...


class Postings(NamedTuple):
    """The documents with a word, by their rows, ascending, and how often it stands in each."""

    rows_E: np.ndarray
    times_E: np.ndarray


@dataclass(frozen=True)
class WordBlock:
    """The words of some documents: word v, of hash `hashes_V[v]` (ascending), stands `times_E[e]`
    times in document `docs_E[e]` for e from `starts_V1[v]` to `starts_V1[v + 1]`, by document.
    `lengths_N` is how many words each document has.
    """

    hashes_V: np.ndarray
    starts_V1: np.ndarray
    docs_E: np.ndarray
    times_E: np.ndarray
    lengths_N: np.ndarray

    def write(self, folder: Path) -> None:
        """An .npy file for each array."""
        for part in fields(self):
            np.save(folder / f"{part.name}.npy", getattr(self, part.name))

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        return sum(getattr(self, part.name).nbytes for part in fields(self))

    @classmethod
    def open(cls, folder: Path) -> WordBlock:
        """What `write` wrote, memory-mapped."""
        names = (part.name for part in fields(cls))
        mapped = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in names)
        return cls(*map(np.asarray, mapped))  # slices of a memmap take longer to make

    def of(self, hashes_A: np.ndarray, rows: slice) -> Iterator[tuple[int, Postings]]:
        """The postings of each of the words that stand in these rows of the block, with the word's
        place among those asked for.
        """
        if not len(self.hashes_V):
            return
        at_A = np.minimum(np.searchsorted(self.hashes_V, hashes_A), len(self.hashes_V) - 1)
        for place in np.flatnonzero(self.hashes_V[at_A] == hashes_A).tolist():
            first, last = self.starts_V1[at_A[place] : at_A[place] + 2].tolist()
            docs_E = self.docs_E[first:last]
            low, high = np.searchsorted(docs_E, [rows.start, rows.stop]).tolist()
            if low < high:
                times_E = self.times_E[first + low : first + high]
                yield place, Postings(docs_E[low:high].astype(np.int64), times_E)


def count_block(documents: Documents, rows: range, language: str) -> WordBlock:
    """Count the words of some documents in a row, BLOCK at most. Memory grows with the words that
    are counted, and not with the texts.
    """
    return _block([_counted(texts, language) for texts in _batches(documents, rows)])


def _batches(documents: Documents, rows: range) -> Iterator[list[str]]:
    """The texts of the rows, about BATCH characters at a time."""
    texts: list[str] = []
    size = 0
    for first in range(rows.start, rows.stop, READ):
        for text in documents.texts(np.arange(first, min(first + READ, rows.stop))):
            texts.append(text)
            size += len(text)
            if size >= BATCH:
                yield texts
                texts, size = [], 0
    if texts:
        yield texts


class _Counted(NamedTuple):
    """Some documents, from 0: entries by document, and lengths."""

    hashes_E: np.ndarray
    docs_E: np.ndarray
    times_E: np.ndarray
    lengths_N: np.ndarray


def _counted(texts: Sequence[str], language: str) -> _Counted:
    ids, numbers = word_ids([with_parts(text) for text in texts], language)
    lengths_N = np.fromiter(map(len, ids), np.int64, len(ids))
    word_M = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths_N.sum()))
    pair_M = np.repeat(np.arange(len(ids)), lengths_N) * max(1, len(numbers)) + word_M
    pair_E, times_E = np.unique(pair_M, return_counts=True)
    docs_E, word_E = np.divmod(pair_E, max(1, len(numbers)))
    return _Counted(_hashes(numbers)[word_E], docs_E.astype(np.int32), times_E, lengths_N)


def _hashes(numbers: dict[str, int]) -> np.ndarray:
    """Of the word of each number."""
    assert list(numbers.values()) == list(range(len(numbers)))
    return hash64(numbers)


def _block(parts: Iterable[_Counted]) -> WordBlock:
    hashes, docs, times, lengths = [], [], [], []
    documents = 0
    for part in parts:
        hashes.append(part.hashes_E)
        docs.append((part.docs_E + documents).astype(np.uint16))
        times.append(part.times_E.astype(_smallest(part.times_E)))
        lengths.append(part.lengths_N.astype(np.int32))
        documents += len(part.lengths_N)
    if not documents:
        none = np.empty(0, np.uint64)
        return WordBlock(none, np.zeros(1, np.int64), *(none.astype(np.uint16),) * 2, none)
    hashes_V, word_E = np.unique(np.concatenate(hashes), return_inverse=True)
    order_E = np.argsort(word_E, kind="stable")  # entries come by document
    starts_V1 = np.searchsorted(word_E[order_E], np.arange(len(hashes_V) + 1))
    lengths_N = np.concatenate(lengths)
    times_E = np.concatenate(times)[order_E]
    return WordBlock(hashes_V, starts_V1, np.concatenate(docs)[order_E], times_E, lengths_N)


def _smallest(values: np.ndarray) -> np.dtype[np.unsignedinteger[np.typing.NBitBase]]:
    """The type that takes the least room for them."""
    return np.min_scalar_type(int(values.max(initial=0)))
