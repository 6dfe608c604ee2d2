"""Vectors of an older model moved to where a newer one has them, by a linear map.

While a model is trained its vectors move together. A sample encoded with both the old and the new
weights shows how, and moves the rest without encoding it.

Shape suffixes: N documents, S of them sampled, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whet_kernels.topk.exact import slices

ROWS = 1 << 16  # vectors moved at a time


@dataclass(frozen=True)
class LinearMap:
    """x -> x W + b, then scaled to unit length if the vectors it was fitted to have it."""

    weight_DD: np.ndarray
    bias_D: np.ndarray
    unit_length: bool

    def __call__(self, old_ND: np.ndarray, out_ND: np.ndarray | None = None) -> np.ndarray:
        """Where the vectors are now, float32 [N, D], written to `out_ND` if given."""
        weight_DD, bias_D = self.weight_DD.astype(np.float32), self.bias_D.astype(np.float32)
        new_ND = np.empty(old_ND.shape, np.float32) if out_ND is None else out_ND
        for span in slices(len(old_ND), ROWS):
            new_ND[span] = np.asarray(old_ND[span], np.float32) @ weight_DD + bias_D
            if self.unit_length:
                length_N = np.linalg.norm(new_ND[span], axis=1, keepdims=True)
                new_ND[span] /= np.maximum(length_N, np.finfo(np.float32).tiny)
        return new_ND


def fit_linear(old_SD: np.ndarray, new_SD: np.ndarray, ridge: float) -> LinearMap:
    """The map that minimises |X W + 1 b - Y|^2 + ridge S v |W - I|^2, in float64.

    X are the old vectors, Y the new, v the mean square of a centred coordinate of X: with few or
    equal samples, or a large ridge, the vectors stay where they are and only their mean moves.

    >>> turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> old = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> np.allclose(fit_linear(old, old @ turn, 0.0).weight_DD, turn)
    True
    """
    old, new = old_SD.astype(np.float64), new_SD.astype(np.float64)
    old_mean_D, new_mean_D = old.mean(axis=0), new.mean(axis=0)
    old, new = old - old_mean_D, new - new_mean_D
    dimensions = old.shape[1]
    gram_DD = old.T @ old + ridge * (old**2).sum() / dimensions * np.eye(dimensions)
    # of the change: what no sample tells anything about does not move (least norm where ridge = 0)
    change_DD = np.linalg.lstsq(gram_DD, old.T @ (new - old), rcond=None)[0]
    weight_DD = np.eye(dimensions) + change_DD
    length_S = np.linalg.norm(new_SD.astype(np.float64), axis=1)
    unit = bool(np.all(np.abs(length_S - 1) < 1e-3))
    return LinearMap(weight_DD, new_mean_D - old_mean_D @ weight_DD, unit)
