"""Which documents a pool holds: all that are judged, those likely to be ranked high, others drawn.

Shape suffixes: Q queries, N documents, C candidates per query, S documents of the pool.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from whet.config import EvaluateConfig, MiningConfig
from whet.data.load import Dataset
from whet.errors import CheckpointError
from whet.evaluation.pool.size import PoolSize, check_pool, pool_size
from whet.evaluation.pool.streamed import nearest_by_words
from whet.mining.part import chosen_rows
from whet.mining.search import search
from whet.printable import printable
from whet.processes.world import from_leader, together
from whet.progress import say
from whet.storage.commit import write_atomically
from whet.types import CorpusShard, Embeddings, Qrels

Vectors = tuple[Embeddings, Embeddings | CorpusShard]
NEAR = 100  # candidates per query by words, and as many by vectors
HARD = 0.75  # of the room beside the judged documents; the rest is drawn from all others


@dataclass(frozen=True)
class DocumentPool:
    """Rows of the corpus, ascending, and what they are called."""

    rows_S: np.ndarray
    size: PoolSize


def write_part(path: Path, rows_S: np.ndarray) -> None:
    """Keep rows of a corpus, for a job that goes on."""
    content = io.BytesIO()
    np.save(content, rows_S)
    write_atomically(path, content.getvalue())


def read_part(path: Path, documents: int) -> np.ndarray:
    """What `write_part` kept, of a corpus of so many. CheckpointError for anything else."""
    try:
        rows_S: np.ndarray = np.load(path, allow_pickle=False)
        right = rows_S.dtype == np.int64 and rows_S.ndim == 1 and len(rows_S) > 0
        right = right and rows_S[0] >= 0 and rows_S[-1] < documents
        right = right and bool((np.diff(rows_S) > 0).all())
    except (OSError, ValueError, EOFError):
        right = False
    if not right:
        raise CheckpointError(
            f"{printable(path)} is not as it was written. Bring back a copy, or start a new run."
        )
    return rows_S


def mined_among(data: Dataset, train: Qrels, policy: MiningConfig) -> np.ndarray | None:
    """The documents that `mining.scope` looks at, as rows of the corpus, ascending; None for all.

    With scope=candidates: what is relevant to the queries, and for each of them the
    `mining.candidates` documents nearest by BM25.
    """
    if policy.scope == "all" or policy.num_negatives == 0:
        return None
    relevant = train.relevant()
    texts = data.queries.texts(relevant.query_rows)
    near_QC = nearest_by_words(texts, data.corpus, policy.candidates)
    rows_S = np.union1d(relevant.doc_rows_M, near_QC[near_QC >= 0])
    size = PoolSize(len(rows_S), len(data.corpus))
    say(
        f"Negatives are looked for among {size.share}: what answers the queries, and what shares "
        "most words with one."
    )
    return rows_S


def choose_pool(
    data: Dataset,
    qrels: Qrels,
    config: EvaluateConfig,
    vectors: Vectors | None = None,
) -> DocumentPool | None:
    """The pool that the judged queries are asked of, None where that is the whole corpus.

    In it are all judged documents; those nearest to a query by BM25 and, where there are `vectors`
    of the queries and of the whole corpus, by these; and, a quarter of the rest, documents drawn
    from all others, the same each time. Of a document in passages all passages are in it. Raises
    what `check_pool` does.
    """
    documents = len(data.corpus)
    size = pool_size(config.pool, documents)
    if size is None:
        return None
    check_pool(config, qrels, documents)
    judged = np.unique(qrels.doc_rows_M)
    texts = data.queries.texts(qrels.query_rows)
    near_LC = from_leader(lambda: nearest_by_words(texts, data.corpus, NEAR))
    if vectors is not None:
        by_vector_QC = search(*vectors, near_LC.shape[1])[1]
        near_LC = np.vstack([near_LC, by_vector_QC])
    hard = chosen_rows(near_LC, judged, len(judged) + round(HARD * (size - len(judged))))
    rows_S = np.union1d(hard, _drawn(documents, hard, size - len(hard)))
    if data.home_N is not None:
        rows_S = np.flatnonzero(np.isin(data.home_N, data.home_N[rows_S]))
    return DocumentPool(rows_S, PoolSize(len(rows_S), documents))


def _drawn(documents: int, but: np.ndarray, count: int) -> np.ndarray:
    """So many rows of all others. Raw words of Philox: numpy promises their values for ever."""
    key_N = np.random.Philox(key=0).random_raw(documents)
    others = np.setdiff1d(np.arange(documents), but, assume_unique=True)
    drawn: np.ndarray = others[np.argsort(key_N[others], kind="stable")[: max(0, count)]]
    return drawn


def kept_pool(
    path: Path,
    data: Dataset,
    qrels: Qrels,
    config: EvaluateConfig,
    *,
    vectors: Callable[[], Vectors] | None,
) -> DocumentPool | None:
    """`choose_pool` by `vectors()`, chosen once: a run that goes on reads it from `path`. Every
    process of a job calls it alike.
    """
    documents = len(data.corpus)
    if pool_size(config.pool, documents) is None:
        return None
    if not from_leader(path.exists):
        chosen = choose_pool(data, qrels, config, vectors() if vectors else None)
        assert chosen is not None  # its size is known
        from_leader(partial(write_part, path, chosen.rows_S))
    rows_S = together(lambda: read_part(path, documents))
    size = PoolSize(len(rows_S), documents)
    say(f"Models are judged on {size.of_all}: figures on it compare with each other only.")
    return DocumentPool(rows_S, size)
