"""BM25 of some documents for queries, by Lucene's formula, as bm25s has it (Lù, arXiv 2407.03618).

A block holds counts alone; how rare words are, and how long documents, is of the whole corpus and
enters when a query is asked. So the documents may lie in parts over the processes of a job: two
sums, and no score of a document depends on how they are cut.

Shape suffixes: Q queries, N documents of the part, A words asked for, E entries (a word in a
document), T documents with a word of the query, K documents per query.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from whet.data.table import TextTable
from whet.data.text import hash64
from whet.evaluation.lexical import counts
from whet.evaluation.lexical.counts import Documents, Postings, WordBlock, count_block
from whet.evaluation.lexical.kept import keep_blocks, kept_blocks
from whet.evaluation.lexical.languages import check_installed, stems
from whet.processes.world import stacked, summed, together
from whet.types import CorpusShard, Embeddings

K1, B = 0.9, 0.4  # Anserini's, used for BEIR (Kamalloo et al., arXiv 2306.07471)
AT_ONCE = 64  # queries whose words are looked up together
CELLS = 1 << 26  # of queries x documents then, at most


class Scored(NamedTuple):
    """The documents of a part that share a word with a query, ascending, and their scores."""

    rows_T: np.ndarray
    scores_T: np.ndarray


class ListedTexts:
    """Texts in memory as documents."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def texts(self, rows: np.ndarray) -> list[str]:
        """The texts of the rows."""
        return [self._texts[int(row)] for row in rows]

    items = texts


class ChosenDocuments:
    """Some rows of a corpus as documents."""

    def __init__(self, corpus: Documents, rows_S: np.ndarray) -> None:
        self._corpus, self._rows_S = corpus, rows_S

    def __len__(self) -> int:
        return len(self._rows_S)

    def texts(self, rows: np.ndarray) -> list[str]:
        """The texts of the rows, counted among those chosen."""
        return self._corpus.texts(self._rows_S[rows])


def part_of(corpus: Embeddings | CorpusShard) -> slice | None:
    """This process's rows of a corpus that is in parts; None of one that is not."""
    if isinstance(corpus, CorpusShard):
        return slice(corpus.start, corpus.start + len(corpus.vectors))
    return None


class Words:
    """The words of a corpus, to be searched by BM25. Usable from any thread.

    What a word is, is in languages.py. Those of a TextTable are kept in the cache (kept.py).
    """

    def __init__(
        self,
        documents: Documents | Sequence[str],
        language: str = "english",
        part: slice | None = None,
    ) -> None:
        """Count the words of each document, or open those that were counted before.

        With `part` these are this process's rows, the others are other processes', and each of them
        must ask the same queries. EnvironmentRefused without bm25s.
        """
        check_installed()
        self.language, self._parted = language, part is not None
        corpus = ListedTexts(documents) if isinstance(documents, Sequence) else documents
        self.documents, part = len(corpus), part or slice(0, len(corpus))
        self.start, self.stop = part.start, part.stop
        self._blocks = _blocks_of(corpus, language, part, parted=self._parted)
        spans = [block.lengths_N[self._span(start)] for start, block in self._blocks]
        length_N = np.concatenate([np.empty(0, np.int64), *spans])
        words = self._sum(np.array([length_N.sum()], np.int64))[0]
        mean = words / max(1, self.documents)
        self._size_N = K1 * ((1 - B) + B * length_N / max(mean, 1e-9))

    def __len__(self) -> int:
        """How many documents it has, of the part where it is one."""
        return int(self.stop - self.start)

    @property
    def nbytes(self) -> int:
        """Of what was counted, as it is kept."""
        return sum(block.nbytes for _, block in self._blocks)

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """BM25 of every document for each query, float32 [Q, N]; 0 without a word in common."""
        return self._dense(queries, shares=False)

    def shares(self, queries: Sequence[str]) -> np.ndarray:
        """The scores over what each query could score at most, had a document all its words in the
        corpus as strongly as any: 0 to 1, float32 [Q, N].

        So a query few of whose words are found says little, as the theoretical bounds of Bruch,
        Gai and Ingber (ACM TOIS 2023) have it.
        """
        return self._dense(queries, shares=True)

    def best(
        self, queries: Sequence[str], k: int, dtype: type[np.floating] = np.float32
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best documents of each query: scores_QK and rows_QK (int64), best first, ties by
        row. With float64 nothing is rounded before documents are ranked.

        A document without a word of the query is none: its row is -1.
        """
        k = min(k, len(self))
        hits = np.zeros((len(queries), k), dtype), np.full((len(queries), k), -1)
        for number, (rows_T, scores_T) in enumerate(self.found(queries, dtype=dtype)):
            if len(rows_T) > k:
                least = np.partition(scores_T, len(rows_T) - k)[len(rows_T) - k]
                rows_T, scores_T = rows_T[scores_T >= least], scores_T[scores_T >= least]
            order = np.argsort(-scores_T, kind="stable")[:k]
            hits[0][number, : len(order)] = scores_T[order]
            hits[1][number, : len(order)] = rows_T[order]
        return hits

    def found(
        self,
        queries: Sequence[str],
        *,
        shares: bool = False,
        dtype: type[np.floating] = np.float32,
    ) -> Iterator[Scored]:
        """For each query the documents with a word of it, and their scores, or their shares."""
        step = max(1, min(AT_ONCE, CELLS // max(1, self.documents)))
        score_N = np.zeros(len(self), dtype)
        for first in range(0, len(queries), step):
            asked = self._asked(queries[first : first + step], dtype)
            for columns in asked.columns_Q:
                for column in columns:
                    rows_E, scores_E = asked.scored_A[column]
                    score_N[rows_E] += scores_E  # a word has a document once
                rows_T = np.flatnonzero(score_N)
                scores_T = score_N[rows_T]
                score_N[rows_T] = 0
                if shares and columns:
                    scores_T /= asked.most_A[columns].sum()
                yield Scored(rows_T, scores_T)

    def frequencies(self, words: Sequence[str]) -> np.ndarray:
        """In how many documents of the corpus each word stands (a stem, as `stems` gives them),
        int64 [A]. No more than one block's documents of a word are in memory.
        """
        hashes_A, frequency_A = hash64(words), np.zeros(len(words), np.int64)
        for start, block in self._blocks:
            for place, (rows_E, _) in block.of(hashes_A, self._span(start)):
                frequency_A[place] += len(rows_E)
        return self._sum(frequency_A)

    def _dense(self, queries: Sequence[str], *, shares: bool) -> np.ndarray:
        scores_QN = np.zeros((len(queries), len(self)), np.float32)
        for row, (rows_T, scores_T) in enumerate(self.found(queries, shares=shares)):
            scores_QN[row, rows_T] = scores_T
        return scores_QN

    def _asked(self, queries: Sequence[str], dtype: type[np.floating]) -> _Asked:
        words_Q = stems(queries, self.language)
        words = sorted({word for row in words_Q for word in row})
        postings_A = self._postings(words)
        frequency_A = self._sum(_frequencies(postings_A))
        scored_A = [
            self._scored(postings, int(frequency), dtype)
            for postings, frequency in zip(postings_A, frequency_A, strict=True)
        ]
        most_A = np.array([scores_E.max(initial=0) for _, scores_E in scored_A], dtype)
        if self._parted:
            most_A = stacked(most_A).max(axis=0)
        known = {word: at for at, word in enumerate(words) if frequency_A[at]}
        columns_Q = [[known[word] for word in row if word in known] for row in words_Q]
        return _Asked(columns_Q, scored_A, most_A)

    def _scored(self, postings: Postings, frequency: int, dtype: type[np.floating]) -> Postings:
        """The documents with a word, and what it adds to their scores, rounded as bm25s does."""
        if not frequency:
            return Postings(postings.rows_E, np.empty(0, dtype))
        # log(1 + ...): Lucene's, never negative (Kamphuis et al., ECIR 2020).
        idf = dtype(math.log(1 + (self.documents - frequency + 0.5) / (frequency + 0.5)))
        times_E = postings.times_E.astype(np.float64)
        part_E = times_E / (self._size_N[postings.rows_E] + times_E)
        return Postings(postings.rows_E, (np.float64(idf) * part_E).astype(dtype))

    def _postings(self, words: Sequence[str]) -> list[Postings]:
        """Of each word in the part, rows from 0 there."""
        hashes_A = hash64(words)
        parts_A: list[list[Postings]] = [[] for _ in words]
        for start, block in self._blocks:
            for place, (rows_E, times_E) in block.of(hashes_A, self._span(start)):
                parts_A[place].append(Postings(rows_E + (start - self.start), times_E))
        return [_joined(parts) for parts in parts_A]

    def _span(self, start: int) -> slice:
        """The part's rows of the block that begins there, from 0 in the block."""
        return slice(max(0, self.start - start), min(counts.BLOCK, self.stop - start))

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return summed(values) if self._parted else values


@dataclass(frozen=True)
class _Asked:
    """Some queries: their words in the corpus by their places, in order, each as often as it is
    asked for; and of each word its documents and the highest score in the corpus.
    """

    columns_Q: list[list[int]]
    scored_A: list[Postings]
    most_A: np.ndarray


def _blocks_of(
    corpus: Documents, language: str, part: slice, *, parted: bool
) -> list[tuple[int, WordBlock]]:
    """The blocks that hold rows of the part, each with its first row."""
    if not isinstance(corpus, TextTable):
        firsts = range(part.start, part.stop, counts.BLOCK)
        ranges = [range(first, min(first + counts.BLOCK, part.stop)) for first in firsts]
        return [(rows.start, count_block(corpus, rows, language)) for rows in ranges]
    numbers = range(part.start // counts.BLOCK, -(-part.stop // counts.BLOCK))
    if part.start == part.stop:
        numbers = range(0)
    if parted:  # each process counts the blocks that begin in its part, then all can open them
        own = [number for number in numbers if number * counts.BLOCK >= part.start]
        together(lambda: keep_blocks(corpus, own, language))
    blocks = kept_blocks(corpus, numbers, language)
    return [(number * counts.BLOCK, block) for number, block in zip(numbers, blocks, strict=True)]


def _frequencies(postings_A: Sequence[Postings]) -> np.ndarray:
    return np.array([len(rows_E) for rows_E, _ in postings_A], np.int64)


def _joined(parts: list[Postings]) -> Postings:
    if len(parts) == 1:
        return parts[0]
    rows, times = [part.rows_E for part in parts], [part.times_E for part in parts]
    rows_E = np.concatenate([np.empty(0, np.int64), *rows])
    return Postings(rows_E, np.concatenate([np.empty(0, np.uint8), *times]))
