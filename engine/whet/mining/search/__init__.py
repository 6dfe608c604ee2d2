"""Exact nearest neighbours, plain and inside a mining window; the only room that knows faiss.

Every backend but the ones that say otherwise gives the result of `mine_topk_reference`, to the bit:
it proposes candidates, they are scored exactly and certified, and what is not certain is searched
again. A new backend is one file here and one line in BACKENDS.

Shape suffixes: Q queries, N corpus rows, D dimensions, k results per query.
"""

from __future__ import annotations

import numpy as np

from whet.errors import ConfigError, EnvironmentRefused, MiningError
from whet.mining.search.backend import Backend, SearchResult, Task, Vectors, search_task
from whet.mining.search.flat import faiss_flat
from whet.mining.search.gpu import gpu
from whet.mining.search.ivf import faiss_ivf
from whet.mining.search.sharded import search_shards
from whet.mining.search.tiles import blas, int8
from whet.progress import say
from whet.types import CorpusShard
from whet_kernels.topk.exact import VectorError

# In the order in which `auto` asks whether they suit; `blas` suits always, `ivf` only on request.
BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (gpu, int8, faiss_flat, blas, faiss_ivf)
}


def search(
    queries: Vectors, corpus: Vectors | CorpusShard, k: int, *, backend: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """The k corpus rows of highest dot product: (scores float32 [Q, k], rows int64 [Q, k]).

    Exact: score descending, ties by row ascending, the same to the bit on every backend, for any k;
    NaN and -1 where the corpus has fewer than k. MiningError for vectors that do not fit or hold
    NaN or infinity.
    """
    top = windowed_search(search_task(queries, corpus), k, backend).top
    return top.scores_Qk, top.rows_Qk


def windowed_search(task: Task, k: int, backend: str = "auto") -> SearchResult:
    """The k best documents that the window allows, and counts of the others.

    With a CorpusShard every process must call it, with the same queries; each gets the result over
    all parts. MiningError names the vector that holds NaN or infinity.
    """
    if isinstance(task.corpus, CorpusShard):
        return search_shards(task, task.corpus, k, lambda part: windowed_search(part, k, backend))
    chosen, why = choose_search_backend(backend, task, k)
    try:
        answer = chosen.run(task, k)
    except VectorError as error:
        side = task.queries if error.side == "query" else task.corpus
        raise named_error(error, side) from error
    except Exception as error:  # a driver, a compiler or a memory of a GPU we have not met
        if backend != "auto" or chosen is not gpu:
            raise
        chosen, why = blas, f"not gpu: {type(error).__name__}: {error}".splitlines()[0]
        say(f"Searching on the CPU, {why}. mining.backend=gpu shows the whole error.")
        answer = chosen.run(task, k)
    reasons = "; ".join(filter(None, (why, answer.note)))
    return SearchResult(answer.top, chosen.name, reasons, answer.unseen_Q)


def named_error(error: VectorError, vectors: Vectors | CorpusShard) -> MiningError:
    """The error in the user's words: the id where there are ids."""
    ids = None if isinstance(vectors, np.ndarray) else vectors.ids
    who = f"{error.side} row {error.row}" if ids is None else f"{error.side} {ids[error.row]!r}"
    return MiningError(
        f"{who} (row {error.row:,}): {error.problem}. Encode it again, or leave its text out."
    )


def choose_search_backend(asked: str, task: Task, k: int) -> tuple[Backend, str]:
    """The backend to take and the reason in a line. ConfigError for a name that is none."""
    if asked == "auto":
        passed: list[str] = []
        for backend in BACKENDS.values():
            suits, why = backend.suits(task, k)
            if suits:
                return backend, "; ".join([why, *passed])
            passed.append(f"not {backend.name}: {why}")
    check_backend(asked)
    return BACKENDS[asked], "asked for"


def check_backend(asked: str) -> None:
    """Refuse a name that is none (ConfigError), or what it needs and is not here
    (EnvironmentRefused).
    """
    if asked == "auto":
        return
    if asked not in BACKENDS:
        raise ConfigError(
            f"mining.backend={asked} is not known. Choose from auto, {', '.join(BACKENDS)}."
        )
    missing = BACKENDS[asked].missing()
    if missing:
        raise EnvironmentRefused(f"mining.backend={asked} needs {missing}. Or choose blas.")
