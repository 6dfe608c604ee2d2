"""Which documents a pool holds: all that are judged, those likely to be ranked high, others drawn.

Shape suffixes: Q queries, N documents, C candidates per query, S documents of the pool.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whet.config import EvaluateConfig, MiningConfig
from whet.data.load import Dataset
from whet.errors import CheckpointError
from whet.evaluation.lexical import nearest_by_words
from whet.evaluation.pool.size import PoolSize, check_pool, pool_size
from whet.mining.part import chosen_rows
from whet.printable import printable
from whet.processes.world import from_leader, together
from whet.progress import say
from whet.storage.commit import write_atomically
from whet.types import Qrels

NEAR = 100  # candidates per query
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


def choose_pool(data: Dataset, qrels: Qrels, config: EvaluateConfig) -> DocumentPool | None:
    """The pool that the judged queries are asked of, None where that is the whole corpus: `pool_of`
    with what is nearest to them by BM25. Raises what `check_pool` does.

    No model has a say in it: with those that one model ranks high a pool is harder for that model.
    """
    size = pool_size(config.pool, len(data.corpus))
    if size is None:
        return None
    check_pool(config, qrels, len(data.corpus))
    texts = data.queries.texts(qrels.query_rows)
    return pool_of(data, qrels, nearest_by_words(texts, data.corpus, NEAR), size)


def pool_of(data: Dataset, qrels: Qrels, near_LC: np.ndarray, size: int) -> DocumentPool:
    """A pool of so many documents: all that are judged, those highest in any of the lists, and, a
    quarter of the rest, documents drawn from all others, the same each time. Of a document in
    passages all passages are in it.
    """
    documents, judged = len(data.corpus), np.unique(qrels.doc_rows_M)
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
    path: Path, data: Dataset, qrels: Qrels, config: EvaluateConfig
) -> DocumentPool | None:
    """`choose_pool`, chosen once: a run that goes on reads it from `path`. Every process of a job
    calls it alike.
    """
    documents = len(data.corpus)
    if pool_size(config.pool, documents) is None:
        return None

    def choose() -> None:
        chosen = None if path.exists() else choose_pool(data, qrels, config)
        if chosen is not None:
            write_part(path, chosen.rows_S)

    from_leader(choose)
    rows_S = together(lambda: read_part(path, documents))
    size = PoolSize(len(rows_S), documents)
    say(
        f"Models are judged on {size.of_all}: figures on it are higher than on all, and changes "
        "somewhat larger."
    )
    return DocumentPool(rows_S, size)
