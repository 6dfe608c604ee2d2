"""Loops compiled by numba, which is optional: exact scores, float32 dots, rounding to int8.

Shape suffixes: D dimensions, M pairs, R rows, G groups of rows that share a scale.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LARGEST = 127
NO_SCALE = 1e-30  # largest entries below this (and their squares) leave the float32 range

compiled = njit(nogil=True, cache=True, error_model="numpy")
# For what runs for every row in doubt: a call would count references to all the arrays it is given.
inlined = njit(nogil=True, cache=True, error_model="numpy", inline="always")


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def dot(query_QD: np.ndarray, q: int, corpus_ND: np.ndarray, row: int) -> np.float32:
    """A float32 dot in whatever order is fast; the error bound of exact.py holds for any."""
    total = np.float32(0)
    for d in range(query_QD.shape[1]):
        total += query_QD[q, d] * corpus_ND[row, d]
    return total


@compiled
def exact(
    query_QD: np.ndarray, q: int, corpus_ND: np.ndarray, row: int, terms_D: np.ndarray
) -> np.float32:
    """exact.py's score, to the bit; `terms_D` float64 is worked in."""
    width = query_QD.shape[1]
    for d in range(width):
        terms_D[d] = np.float64(query_QD[q, d]) * np.float64(corpus_ND[row, d])
    while width > 1:
        half = (width + 1) // 2
        for d in range(width - half):
            terms_D[d] += terms_D[half + d]
        width = half
    return np.float32(terms_D[0])


@compiled
def exact_pairs(
    query_QD: np.ndarray,
    corpus_ND: np.ndarray,
    query_M: np.ndarray,
    row_M: np.ndarray,
    score_M: np.ndarray,
) -> None:
    """Exact scores of pairs into `score_M`."""
    terms_D = np.zeros(max(1, query_QD.shape[1]))
    for m in range(len(query_M)):
        score_M[m] = exact(query_QD, query_M[m], corpus_ND, row_M[m], terms_D)


@compiled
def round_group(
    vector_RD: np.ndarray, span: tuple[int, int], whole_RD: np.ndarray, lost_R: np.ndarray
) -> np.float32:
    """Round the rows of `span` = (start, stop) to int8 with one scale, which is returned.

    `lost_R` gets the norms of what is lost, to float32's accuracy.
    """
    start, stop = span
    width = vector_RD.shape[1]
    largest = np.float32(0)
    for r in range(start, stop):
        for d in range(width):
            largest = max(largest, abs(vector_RD[r, d]))
    scale, inverse = np.float32(0), np.float32(0)
    if largest / np.float32(LARGEST) > NO_SCALE:
        scale = largest / np.float32(LARGEST)
        inverse = np.float32(1) / scale
    for r in range(start, stop):
        lost_R[r] = _round_row(vector_RD, r, (scale, inverse), whole_RD)
    return scale


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _round_row(
    vector_RD: np.ndarray, r: int, scales: tuple[np.float32, np.float32], whole_RD: np.ndarray
) -> np.float32:
    scale, inverse = scales
    total = np.float32(0)
    for d in range(vector_RD.shape[1]):
        value = vector_RD[r, d] * inverse
        whole = np.int32(value + np.float32(np.copysign(np.float32(0.5), value)))
        whole_RD[r, d] = whole
        lost = vector_RD[r, d] - np.float32(whole) * scale
        total += lost * lost
    norm: np.float32 = np.sqrt(total)
    return norm


@compiled
def round_rows(
    span: tuple[int, int, int],
    vector_RD: np.ndarray,
    whole_RD: np.ndarray,
    scale_G: np.ndarray,
    lost_R: np.ndarray,
) -> None:
    """Round the groups of `span` = (first, last, rows per group) to int8; the last may be
    smaller.
    """
    first, last, rows = span
    for g in range(first, last):
        stop = min(len(vector_RD), (g + 1) * rows)
        scale_G[g] = round_group(vector_RD, (g * rows, stop), whole_RD, lost_R)
