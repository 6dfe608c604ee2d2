"""Search in a corpus that is divided over the processes of a job.

Each process searches its part; only the k best of each query and part travel. What comes back is
the result of one process with the whole corpus, to the bit: scores do not depend on the part, and
ties go by row.

Shape suffixes: Q queries, N corpus rows, n rows of a part, W processes, k results per query, M
pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whet.mining.search.backend import SearchResult, Task, Vectors, array_of
from whet.processes.world import concatenated, exchanged, summed, together, world
from whet.types import CorpusShard, Embeddings
from whet_kernels.topk.exact import pair_scores, slices
from whet_kernels.topk.window import Exclude, TopK

MERGED = 1 << 22  # survivors of a part that travel at a time

# what one process finds in its own rows, numbered from 0
SearchPart = Callable[[Task], SearchResult]


def corpus_scores(
    query_QD: np.ndarray,
    corpus: Vectors | CorpusShard,
    query_M: np.ndarray,
    row_M: np.ndarray,
) -> np.ndarray:
    """Exact scores, float32 [M], of pairs with rows anywhere in the corpus."""
    if not isinstance(corpus, CorpusShard):
        return pair_scores(query_QD, array_of(corpus), query_M, row_M)
    held_M = corpus.holds(row_M)
    score_M = np.zeros(len(row_M), np.float32)
    score_M[held_M] = together(
        lambda: pair_scores(query_QD, corpus.vectors, query_M[held_M], row_M[held_M] - corpus.start)
    )
    return summed(score_M)  # one part holds a row, the others add 0


def search_shards(task: Task, corpus: CorpusShard, k: int, search: SearchPart) -> SearchResult:
    """The k best allowed rows of the whole corpus, by `search` in each part."""
    ids = corpus.ids[corpus.start : corpus.start + len(corpus.vectors)]
    part = Task(
        task.queries,
        Embeddings(ids, corpus.vectors),
        task.window._replace(exclude=_own(task.window.exclude, corpus)),
        _own_hints(task.hint_QC, corpus),
    )
    own = together(lambda: search(part))
    top = _merged(own.top, corpus.start, k)
    unseen_Q = None if own.unseen_Q is None else summed(own.unseen_Q)
    why = f"{own.why}; {world().size} parts of the corpus"
    return SearchResult(top, own.backend, why, unseen_Q)


def _own(exclude: Exclude, corpus: CorpusShard) -> Exclude:
    held_E = corpus.holds(exclude.rows_E)
    before_E1 = np.concatenate([[0], np.cumsum(held_E)])
    return Exclude(before_E1[exclude.offsets_Q1], exclude.rows_E[held_E] - corpus.start)


def _own_hints(hint_QC: np.ndarray | None, corpus: CorpusShard) -> np.ndarray | None:
    if hint_QC is None:
        return None
    return np.where(corpus.holds(hint_QC), hint_QC - corpus.start, -1)


def best_of_parts(
    scores_Qk: np.ndarray, rows_Qk: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of what the processes found for each query, ties by row; rows are those of the
    whole corpus, -1 for none.

    Each process merges its share of the queries; only what it found goes to all.
    """
    scores, rows = [np.empty((0, k), scores_Qk.dtype)], [np.empty((0, k), np.int64)]
    for span in slices(len(rows_Qk), max(1, MERGED // max(1, k))):
        rows_qW = np.concatenate(list(exchanged(rows_Qk[span])), axis=1)
        scores_qW = np.concatenate(list(exchanged(scores_Qk[span])), axis=1)
        order = np.lexsort((rows_qW, -scores_qW, rows_qW < 0), axis=1)[:, :k]
        rows.append(concatenated(np.take_along_axis(rows_qW, order, 1)))
        scores.append(concatenated(np.take_along_axis(scores_qW, order, 1)))
    return np.concatenate(scores), np.concatenate(rows)


def _merged(own: TopK, start: int, k: int) -> TopK:
    """The k best of all parts, and the counts of all."""
    own_rows_Qk = np.where(own.rows_Qk >= 0, own.rows_Qk + start, -1)
    scores_Qk, rows_Qk = best_of_parts(own.scores_Qk, own_rows_Qk, k)
    counts = summed(np.stack([own.excluded_Q, own.above_Q, own.below_Q]))
    return TopK(scores_Qk, rows_Qk, *counts)
