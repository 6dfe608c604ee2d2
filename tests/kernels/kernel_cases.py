"""What the tests of kernels share: vectors of every kind, windows, and comparison to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from whet_kernels.topk.window import Exclude

KINDS = ["unit", "ties", "duplicates", "zeros", "any norm", "tiny"]


def exclude_of(lists: Sequence[ArrayLike]) -> Exclude:
    parts = [np.asarray(rows, np.int64) for rows in lists]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in parts])]).astype(np.int64)
    return Exclude(offsets, np.concatenate(parts))


def vectors(rng: np.random.Generator, kind: str, count: int, dimension: int) -> np.ndarray:
    if kind == "ties":  # equal scores, of both signs of zero
        return rng.integers(-2, 3, (count, dimension)).astype(np.float32) * np.float32(-1)
    values = rng.standard_normal((count, dimension)).astype(np.float32)
    if kind == "unit":
        values /= np.linalg.norm(values, axis=1, keepdims=True)
    if kind == "duplicates":
        return values[rng.integers(0, max(1, count // 10), count)]
    if kind == "zeros":
        values[rng.random(count) < 0.5] = rng.choice([0.0, -0.0])
    if kind == "any norm":
        values *= np.float32(10) ** rng.integers(-20, 15, (count, 1))
    if kind == "tiny":  # scores around the smallest float32
        values *= np.float32(10) ** rng.integers(-24, -19, (count, 1))
    return values


def a_window(rng: np.random.Generator, scores: np.ndarray, count: int, rows: int) -> dict[str, Any]:
    """Thresholds that often equal a score, and exclusions from none to all, with repeats."""
    window: dict[str, Any] = {}
    if rng.random() < 0.6:
        window["ceiling_Q"] = rng.choice(np.append(scores, np.float32(np.inf)), count)
    if rng.random() < 0.5:
        window["floor_Q"] = rng.choice(np.append(scores, np.float32(-np.inf)), count)
    if rng.random() < 0.6:
        sizes = rng.integers(0, rows + 5, count)
        window["exclude"] = exclude_of([rng.integers(0, rows, size) for size in sizes])
    return window


def assert_same(found: Any, expected: Any) -> None:
    """Equal to the bit, the sign of zero included."""
    for name, a, b in zip(expected._fields, expected, found, strict=True):
        assert a.dtype == b.dtype, name
        assert np.array_equal(a, b, equal_nan=a.dtype == np.float32), name
        if a.dtype == np.float32:
            assert np.array_equal(np.signbit(a) & ~np.isnan(a), np.signbit(b) & ~np.isnan(b)), name
