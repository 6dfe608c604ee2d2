"""Exact nearest neighbours, plain and inside a mining window; the only importer of faiss.

Every backend gives the result of `whet_kernels.mine_topk.mine_topk_reference`, to the bit: it
proposes candidates, `finish` scores them exactly and certifies, and what is not certain is searched
again.

Shape suffixes: Q queries, N corpus rows, D dimensions, C candidates a query, k results a query.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from whet.errors import ConfigError, EnvironmentRefused, MiningError
from whet.types import Embeddings
from whet_kernels.exact_dot import VectorError, check_range, norms, score_error_Q, slices
from whet_kernels.mine_topk import mine_topk
from whet_kernels.topk_window import (
    Exclude,
    Finished,
    TopK,
    Window,
    empty_result,
    finish,
    window_of,
)

Vectors = Embeddings | np.ndarray

SLACK = 16  # candidates beyond what is asked for: rows within rounding of the last
CEILING_ROOM = 48  # more where a ceiling drops the best of them
DEEPEST = 2048  # beyond this a heap a query is slower than the tiles
PROBED = 128  # queries tried first
HOPELESS = 0.5  # more of the tried than this uncertain: the rest goes to the tiles at once
ROUND_CANDIDATES = 1 << 20  # candidates handled at a time: bounds memory, whatever Q is


class Found(NamedTuple):
    """A search's result, and which backend gave it, why."""

    top: TopK
    backend: str
    why: str


def search(
    queries: Vectors, corpus: Vectors, k: int, *, backend: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """The k corpus rows of highest dot product: (scores float32 [Q, k], rows int64 [Q, k]).

    Exact: score descending, ties by row ascending, the same to the bit on every backend, for any k;
    NaN and -1 where the corpus has fewer than k. MiningError for vectors that do not fit or hold
    NaN or infinity.
    """
    top = windowed_search(queries, corpus, k, backend=backend).top
    return top.scores_Qk, top.rows_Qk


def windowed_search(
    queries: Vectors,
    corpus: Vectors,
    k: int,
    *,
    ceiling_Q: np.ndarray | None = None,
    floor_Q: np.ndarray | None = None,
    exclude: Exclude | None = None,
    backend: str = "auto",
) -> Found:
    """`search` among the rows a window and an exclusion list allow, and counts of the others."""
    query_QD, corpus_ND = _array(queries), _array(corpus)
    if query_QD.shape[1] != corpus_ND.shape[1]:
        raise MiningError(
            f"queries have {query_QD.shape[1]} dimensions, the corpus {corpus_ND.shape[1]}. "
            "Encode both with one model."
        )
    name, why = choose_backend(backend, corpus_ND, k, has_floor=floor_Q is not None)
    window = window_of(
        query_QD, corpus_ND, k, ceiling_Q=ceiling_Q, floor_Q=floor_Q, exclude=exclude
    )
    try:
        return Found(BACKENDS[name](query_QD, corpus_ND, k, window), name, why)
    except VectorError as error:
        raise named_error(error, queries if error.side == "query" else corpus) from error


def named_error(error: VectorError, vectors: Vectors) -> MiningError:
    """The error in the user's words: the id where there are ids."""
    ids = vectors.ids if isinstance(vectors, Embeddings) else None
    who = f"{error.side} row {error.row}" if ids is None else f"{error.side} {ids[error.row]!r}"
    return MiningError(
        f"{who} (row {error.row:,}): {error.problem}. Encode it again, or leave its text out."
    )


def _array(vectors: Vectors) -> np.ndarray:
    array = vectors.vectors if isinstance(vectors, Embeddings) else vectors
    if array.ndim != 2:
        raise MiningError(f"vectors must be [rows, dimensions], are {array.shape}.")
    return array


def choose_backend(
    asked: str, corpus_ND: np.ndarray, k: int, *, has_floor: bool = False
) -> tuple[str, str]:
    """The backend's name and the reason in a line. ConfigError for a name that is none."""
    if asked not in ("auto", *BACKENDS):
        raise ConfigError(
            f"mining.backend={asked} is not known. Choose from auto, {', '.join(BACKENDS)}."
        )
    installed = find_spec("faiss") is not None
    if asked == "faiss" and not installed:
        raise EnvironmentRefused(
            "mining.backend=faiss needs faiss: pip install faiss-cpu. Or choose blas."
        )
    if asked != "auto":
        return asked, "asked for"
    if not installed:
        return "blas", "faiss is not installed"
    if isinstance(corpus_ND, np.memmap):
        return "blas", "the corpus is a memory map, which tiles read once"
    if has_floor:
        return "blas", "min_score needs every score, which tiles count as they pass"
    if k + SLACK > DEEPEST:
        return "blas", f"{k:,} a query is more than faiss's heaps are good for"
    if corpus_ND.dtype != np.float32:
        return "blas", f"faiss takes float32, the corpus is {corpus_ND.dtype}"
    return "faiss", "its matrix product keeps the best as it goes, fastest on a CPU"


def _blas(query_QD: np.ndarray, corpus_ND: np.ndarray, k: int, window: Window) -> TopK:
    return mine_topk(
        query_QD,
        corpus_ND,
        k,
        ceiling_Q=window.ceiling_Q,
        floor_Q=window.floor_Q,
        exclude=window.exclude,
    )


def _faiss(query_QD: np.ndarray, corpus_ND: np.ndarray, k: int, window: Window) -> TopK:
    """faiss proposes, `finish` decides; what is left uncertain the tiles find."""
    query_QD = np.ascontiguousarray(query_QD, np.float32)
    corpus_ND = np.ascontiguousarray(corpus_ND, np.float32)
    norm_Q, norm_N = norms(query_QD, side="query"), norms(corpus_ND, side="corpus")
    check_range(norm_Q, norm_N)
    error_Q = score_error_Q(norm_Q, float(norm_N.max(initial=0.0)), query_QD.shape[1])
    result = empty_result(len(query_QD), k, window)
    room = CEILING_ROOM if (window.ceiling_Q < np.inf).any() else 0
    depth_Q = np.minimum(k + SLACK + room + window.excluded_Q, len(corpus_ND))
    left = np.arange(len(query_QD))
    ready = left[(depth_Q <= DEEPEST) & (depth_Q > 0)]
    tried = failed = 0
    for group in _alike(ready, depth_Q):
        if tried >= PROBED and failed > tried * HOPELESS:
            break
        depth, part = int(depth_Q[group].max()), window.take(group)
        done = _propose_and_finish(query_QD[group], corpus_ND, error_Q[group], (k, depth), part)
        _store(result, group, done, part, len(corpus_ND))
        left = np.setdiff1d(left, group[done.certain_Q], assume_unique=True)
        tried, failed = tried + len(group), failed + int((~done.certain_Q).sum())
    if len(left):
        rest = _blas(query_QD[left], corpus_ND, k, window.take(left))
        for whole, piece in zip(result, rest, strict=True):
            whole[left] = piece
    return result


def _alike(queries: np.ndarray, depth_Q: np.ndarray) -> list[np.ndarray]:
    """The queries in blocks of like depth, the first one small.

    Alike, so that one query with a thousand exclusions costs the others nothing; small, to see
    early whether this depth is enough.
    """
    octave = np.ceil(np.log2(depth_Q[queries]) * 2).astype(np.int64)
    blocks: list[np.ndarray] = []
    for value in np.unique(octave):
        same = queries[octave == value]
        step = max(256, ROUND_CANDIDATES // int(depth_Q[same].max()))
        if not blocks:
            blocks.append(same[:PROBED])
            same = same[PROBED:]
        blocks += [same[at] for at in slices(len(same), step)]
    return blocks


def _propose_and_finish(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    error_Q: np.ndarray,
    ask: tuple[int, int],
    window: Window,
) -> Finished:
    """One round: `ask` is k and how many candidates faiss is asked for."""
    k, depth = ask
    approx_QC, row_QC = _nearest(query_QD, corpus_ND, depth)
    all_seen = depth >= len(corpus_ND)
    unseen_Q = np.full(len(query_QD), -np.inf)
    if not all_seen:
        unseen_Q = approx_QC[:, -1].astype(np.float64) + error_Q
    narrow = _narrow(row_QC, approx_QC, error_Q, k + SLACK, window)
    left_out_Q = np.maximum(unseen_Q, narrow.best_left_out_Q)
    done = finish(query_QD, corpus_ND, narrow.row_QC, left_out_Q, k=k, window=window)
    # The counts of rows faiss did not propose are known only if none of them can reach a threshold.
    floor_seen_Q = (window.floor_Q == -np.inf) | (unseen_Q < window.floor_Q)
    above_seen_Q = (window.ceiling_Q == np.inf) | (unseen_Q <= window.ceiling_Q)
    return Finished(
        done.scores_Qk,
        done.rows_Qk,
        narrow.above_Q + done.above_Q,
        narrow.above_Q + narrow.inside_Q + done.at_least_Q,
        done.certain_Q & floor_seen_Q & above_seen_Q,
    )


def _nearest(
    query_QD: np.ndarray, corpus_ND: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """faiss's float32 scores and rows, [Q, depth], best first.

    faiss 1.15 leaves the matrix product for a plain loop below 128,000 / D queries: measured 5 to 9
    times slower at 128 queries, so the threshold is lowered for the call.
    """
    import faiss

    threshold = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 1
    try:
        return faiss.knn(query_QD, corpus_ND, depth, metric=faiss.METRIC_INNER_PRODUCT)
    finally:
        faiss.cvar.distance_compute_blas_threshold = threshold


class _Narrow(NamedTuple):
    """The candidates that need an exact score, and what is known of the others without one."""

    row_QC: np.ndarray
    above_Q: np.ndarray  # of the others, clearly above the ceiling (excluded ones left aside)
    inside_Q: np.ndarray  # of the others, clearly in the window
    best_left_out_Q: np.ndarray  # an upper bound of the best score among the latter, -inf if none


def _narrow(
    row_QC: np.ndarray,
    approx_QC: np.ndarray,
    error_Q: np.ndarray,
    keep: int,
    window: Window,
) -> _Narrow:
    """Score exactly only what is near a threshold, and the best in the window; drop the clear
    cases.
    """
    approx = approx_QC.astype(np.float64)
    error = error_Q[:, None]
    ceiling, floor = (
        part.astype(np.float64)[:, None] for part in (window.ceiling_Q, window.floor_Q)
    )
    valid_QC = (row_QC >= 0) & ~window.is_excluded(row_QC)
    above_QC = valid_QC & (approx > ceiling + error)
    near_QC = (np.abs(approx - ceiling) <= error) | (np.abs(approx - floor) <= error)
    near_QC &= valid_QC & ~above_QC
    clear_QC = valid_QC & ~above_QC & ~near_QC & (approx >= floor)
    kept_QC = clear_QC & (np.cumsum(clear_QC, axis=1) <= keep)  # faiss gives best first
    out_QC = clear_QC & ~kept_QC
    left_out_Q = np.where(out_QC, approx + error, -np.inf).max(axis=1, initial=-np.inf)
    chosen_QC = near_QC | kept_QC
    order = np.argsort(~chosen_QC, axis=1, kind="stable")[:, : int(chosen_QC.sum(1).max(initial=0))]
    rows = np.take_along_axis(np.where(chosen_QC, row_QC, -1), order, 1)
    return _Narrow(rows, above_QC.sum(1), out_QC.sum(1), left_out_Q)


def _store(result: TopK, queries: np.ndarray, done: Finished, window: Window, rows: int) -> None:
    """Write one round's results."""
    open_Q = rows - window.excluded_Q
    at_least_Q = np.where(window.floor_Q > -np.inf, done.at_least_Q, open_Q)
    result.scores_Qk[queries], result.rows_Qk[queries] = done.scores_Qk, done.rows_Qk
    result.above_Q[queries] = done.above_Q
    result.below_Q[queries] = open_Q - np.maximum(done.above_Q, at_least_Q)


BACKENDS: dict[str, Callable[[np.ndarray, np.ndarray, int, Window], TopK]] = {
    "faiss": _faiss,
    "blas": _blas,
}
