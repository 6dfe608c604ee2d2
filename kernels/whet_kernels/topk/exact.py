"""Scores that depend on nothing but the two vectors, and the bound of a fast score's distance from
them.

The score of a pair is s = fl32(sum_d fl64(q_d * x_d)): every product of two float32 numbers is
exact in float64, the float64 sum folds the upper half onto the lower half until one number is left,
and one rounding to float32 ends it. The order of the sum is fixed by D alone, so tiles, threads,
batches, machines and fused multiply-adds cannot change a bit.

Shape suffixes: Q queries, N corpus rows, M pairs, D dimensions, T rows of a tile.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec

import numpy as np

FLOAT32_ROUNDING = 2.0**-24
# Products below the normal range may lose up to this much each, also where denormals are flushed
# to zero.
FLOAT32_UNDERFLOW = 2.0**-125
LARGEST_SCORE = 1e38  # |q||x| above this could overflow float32 (3.4e38) in a partial sum
CHUNK_NUMBERS = 1 << 17  # float64 numbers worked on at a time, 1 MiB: stays in a core's cache


class VectorError(ValueError):
    """A vector no exact score can be made from; `side` is "query" or "corpus", `row` its row."""

    def __init__(self, side: str, row: int, problem: str) -> None:
        super().__init__(f"{side} row {row}: {problem}")
        self.side, self.row, self.problem = side, row, problem


def fold_sum(terms_MD: np.ndarray) -> np.ndarray:
    """Sum over the last axis by folding halves together; overwrites `terms_MD`, float64 [M, D] ->
    [M].

    >>> fold_sum(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]))  # ((1+4)+3) + (2+5)
    array([15.])
    """
    width = terms_MD.shape[1]
    if width == 0:
        return np.zeros(len(terms_MD))
    while width > 1:
        half = (width + 1) // 2
        terms_MD[:, : width - half] += terms_MD[:, half:width]
        width = half
    return terms_MD[:, 0]


def pair_scores(
    query_QD: np.ndarray, corpus_ND: np.ndarray, query_M: np.ndarray, row_M: np.ndarray
) -> np.ndarray:
    """Exact scores, float32 [M], of the pairs (query_M[m], row_M[m]); the corpus may be a memory
    map.

    >>> query_QD, corpus_ND = np.float32([[1, 2]]), np.float32([[3, 4], [5, 6]])
    >>> pair_scores(query_QD, corpus_ND, np.array([0, 0]), np.array([1, 0]))
    array([17., 11.], dtype=float32)
    """
    scores_M = np.empty(len(query_M), np.float32)
    compiled = None
    if query_QD.dtype == corpus_ND.dtype == np.float32 and _worth_compiling(len(query_M)):
        compiled = _compiled()
    step = max(1, CHUNK_NUMBERS // max(1, query_QD.shape[1]))
    chunks = list(slices(len(query_M), step))

    def score(chunk: slice) -> None:
        if compiled is not None:
            compiled(query_QD, corpus_ND, query_M[chunk], row_M[chunk], scores_M[chunk])
            return
        terms_MD = corpus_ND[row_M[chunk]].astype(np.float64)
        terms_MD *= query_QD[query_M[chunk]].astype(np.float64)
        scores_M[chunk] = fold_sum(terms_MD)

    if len(chunks) < 4:
        for chunk in chunks:
            score(chunk)
        return scores_M
    with ThreadPoolExecutor(_threads()) as pool:  # both let go of the GIL; chunks share nothing
        list(pool.map(score, chunks))
    return scores_M


def _worth_compiling(pairs: int) -> bool:
    """Loading numba takes as long as numpy needs for half a million pairs."""
    return "numba" in sys.modules or pairs > 1 << 19


@cache
def _compiled() -> Callable[..., None] | None:
    """The loop by numba, where it is installed: a third of numpy's time, the same bits."""
    if find_spec("numba") is None:
        return None
    from whet_kernels.topk.compiled import exact_pairs

    return exact_pairs


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def dot_error(dimension: int) -> float:
    """c such that |float32 dot - exact score| <= c * |q| * |x| for any order of summation.

    gamma_D = D u / (1 - D u), u = 2^-24 (Higham, Accuracy and Stability, 2nd ed., eq. 3.5), and two
    more roundings for the exact score's own rounding to float32 and the float64 error of sum and
    norms.

    >>> f"{dot_error(384):.1e}"
    '2.3e-05'
    """
    n = dimension + 2
    return n * FLOAT32_ROUNDING / (1 - n * FLOAT32_ROUNDING)


def score_error_Q(norm_Q: np.ndarray, largest_norm: float, dimension: int) -> np.ndarray:
    """Bound, float64 [Q], of |float32 dot - exact score| against any row of norm up to
    `largest_norm`.
    """
    return dot_error(dimension) * norm_Q * largest_norm + (dimension + 1) * FLOAT32_UNDERFLOW


def norms(vectors_ND: np.ndarray, *, side: str, first_row: int = 0) -> np.ndarray:
    """Upper bounds of the Euclidean norms, float64 [N], within 1e-3 of them; NaN or infinity is a
    VectorError.

    Squares are summed in float32 where that cannot overflow or underflow, and the bound is widened
    by the error.
    """
    norm_N = np.empty(len(vectors_ND))
    step = max(1, CHUNK_NUMBERS // max(1, vectors_ND.shape[1]))
    widen = 1 + dot_error(vectors_ND.shape[1])
    for span in slices(len(vectors_ND), step):
        part = np.asarray(vectors_ND[span], dtype=np.float32)
        square_N = np.einsum("nd,nd->n", part, part).astype(np.float64)
        odd = np.flatnonzero(~((square_N > 1e-25) & (square_N < 1e30)))
        exact = part[odd].astype(np.float64)
        square_N[odd] = np.einsum("nd,nd->n", exact, exact)
        norm_N[span] = np.sqrt(square_N) * widen
    bad = np.flatnonzero(~np.isfinite(norm_N))
    if len(bad):
        raise VectorError(side, first_row + int(bad[0]), "the vector holds NaN or infinity")
    return norm_N


def check_range(norm_Q: np.ndarray, norm_T: np.ndarray, first_row: int = 0) -> None:
    """Refuse a pair of norms whose score could overflow float32."""
    if len(norm_Q) and len(norm_T) and norm_Q.max() * norm_T.max() > LARGEST_SCORE:
        row = first_row + int(norm_T.argmax())
        raise VectorError("corpus", row, f"norm {norm_T.max():.3g} overflows a float32 score")


def tile_scores(
    query_QD: np.ndarray, tile_TD: np.ndarray, query_M: np.ndarray, row_M: np.ndarray
) -> np.ndarray:
    """`pair_scores` within one tile; equal rows are scored once when there are many pairs.

    A corpus full of one vector (empty or boilerplate texts) puts every row on the same threshold:
    without this, each query would pay the full exact dot for all of them.
    """
    if len(row_M) <= 8 * len(tile_TD):
        return pair_scores(query_QD, tile_TD, query_M, row_M)
    same_T = _first_equal_row(tile_TD)
    pair_M = query_M.astype(np.int64) * len(tile_TD) + same_T[row_M]
    pair_U, at_M = np.unique(pair_M, return_inverse=True)
    scores_U = pair_scores(query_QD, tile_TD, pair_U // len(tile_TD), pair_U % len(tile_TD))
    return scores_U[at_M]


def _first_equal_row(tile_TD: np.ndarray) -> np.ndarray:
    """For every row of the tile, the first row with the same bytes."""
    rows = np.ascontiguousarray(tile_TD)
    as_bytes_T = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(as_bytes_T, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


def slices(total: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most `step` that cover range(total).

    >>> list(slices(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(start, min(total, start + step)) for start in range(0, total, step))
