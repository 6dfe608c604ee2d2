"""faiss's flat search proposes, `finish` decides; what is left uncertain the tiles find.

Shape suffixes: Q queries, N corpus rows, D dimensions, C candidates per query, k results per query.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from whet.mining.search.backend import Answer, Backend, Task, progress
from whet.mining.search.tiles import blas
from whet.version import install_line
from whet_kernels.topk.exact import check_range, norms, score_error_Q, slices
from whet_kernels.topk.window import Finished, TopK, Window, empty_result, finish

SLACK = 16  # candidates beyond what is asked for: rows within rounding of the last
CEILING_ROOM = 48  # more where a ceiling drops the best of them
DEEPEST = 2048  # beyond this a heap per query is slower than the tiles
PROBED = 128  # queries tried first
HOPELESS = 0.5  # more of the tried than this uncertain: the rest goes to the tiles at once
ROUND_CANDIDATES = 1 << 20  # candidates handled at a time: bounds memory, whatever Q is


def _suits(task: Task, k: int) -> tuple[bool, str]:
    if find_spec("faiss") is None:
        return False, "faiss is not installed"
    if isinstance(task.corpus_ND, np.memmap):
        return False, "the corpus is a memory map, which tiles read once"
    if task.has_floor:
        return False, "min_score needs every score, which tiles count as they pass"
    if k + SLACK > DEEPEST:
        return False, f"{k:,} a query is more than faiss's heaps are good for"
    if task.corpus_ND.dtype != np.float32:
        return False, f"faiss takes float32, the corpus is {task.corpus_ND.dtype}"
    return True, "its matrix product keeps the best as it goes"


def _run(task: Task, k: int) -> Answer:
    window = task.window
    query_QD = np.ascontiguousarray(task.query_QD, np.float32)
    corpus_ND = np.ascontiguousarray(task.corpus_ND, np.float32)
    norm_Q, norm_N = norms(query_QD, side="query"), norms(corpus_ND, side="corpus")
    check_range(norm_Q, norm_N)
    error_Q = score_error_Q(norm_Q, float(norm_N.max(initial=0.0)), query_QD.shape[1])
    result = empty_result(len(query_QD), k, window)
    # faiss knows no window: what a ceiling or exclusions take away must be asked for besides.
    room = CEILING_ROOM if (window.ceiling_Q < np.inf).any() else 0
    depth_Q = np.minimum(k + SLACK + room + window.excluded_Q, len(corpus_ND))
    left = np.arange(len(query_QD))
    ready = left[(depth_Q <= DEEPEST) & (depth_Q > 0)]
    tried = failed = 0
    with progress(task, len(ready), "queries") as seen:
        for group in _alike(ready, depth_Q):
            # Where most queries end uncertain (many equal rows), proposing is lost time.
            if tried >= PROBED and failed > tried * HOPELESS:
                break
            ask, part = (k, int(depth_Q[group].max())), window.take(group)
            done = _propose_and_finish(query_QD[group], corpus_ND, error_Q[group], ask, part)
            _store(result, group, done, part, len(corpus_ND))
            left = np.setdiff1d(left, group[done.certain_Q], assume_unique=True)
            tried, failed = tried + len(group), failed + int((~done.certain_Q).sum())
            seen(len(group))
    if not len(left):
        return Answer(result)
    rest = blas.run(task.take(left), k)
    for whole, piece in zip(result, rest.top, strict=True):
        whole[left] = piece
    uncertain = f"{len(left):,} of {len(result.rows_Qk):,} queries went to blas, uncertain by faiss"
    return Answer(result, note="; ".join(filter(None, (uncertain, rest.note))))


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
        blocks += [same[span] for span in slices(len(same), step)]
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


faiss_flat = Backend(
    "faiss",
    missing=lambda: "" if find_spec("faiss") else f"faiss ({install_line('faiss')})",
    suits=_suits,
    run=_run,
)
