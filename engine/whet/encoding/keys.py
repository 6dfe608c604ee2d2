"""Where each text's vector stands: a segment of the store and a row in it, found by the text's key.

The keys of all segments are kept in sorted runs, each more than twice as long as the next: a run
that is not is merged with it. So n keys lie in at most log2(n) + 1 runs however many segments they
came in, and each key is merged about as often (the logarithmic method: Bentley and Saxe,
Decomposable searching problems I, J. Algorithms 1, 1980).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class _SortedKeys:
    """Sorted keys, and where each one's vector is. Of equal keys the latest stands last."""

    key_N: np.ndarray
    segment_N: np.ndarray  # int32
    row_N: np.ndarray  # int32

    def with_later(self, later: _SortedKeys) -> _SortedKeys:
        """Both as one."""
        key_N = np.concatenate([self.key_N, later.key_N])
        order = np.argsort(key_N, kind="stable")  # equal keys keep their order: the later is last
        segment_N = np.concatenate([self.segment_N, later.segment_N])
        row_N = np.concatenate([self.row_N, later.row_N])
        return _SortedKeys(key_N[order], segment_N[order], row_N[order])


class KeyIndex:
    """Segment and row of every key."""

    def __init__(self) -> None:
        self._runs: list[_SortedKeys] = []  # the longest and earliest first

    def add(self, key_N: np.ndarray, segment: int) -> None:
        """The keys of one more segment, by row."""
        order = np.argsort(key_N, kind="stable").astype(np.int32)
        run = _SortedKeys(key_N[order], np.full(len(order), segment, np.int32), order)
        while self._runs and len(self._runs[-1].key_N) <= 2 * len(run.key_N):
            run = self._runs.pop().with_later(run)
        self._runs.append(run)

    def find(self, key_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segment and row of each key, int64 [N] each, -1 where it is not known. Of a key that was
        added twice the later.
        """
        segment_N = np.full(len(key_N), -1, np.int64)
        row_N = np.full(len(key_N), -1, np.int64)
        for run in self._runs:
            if len(run.key_N):
                # the last of equal keys; before the first key is -1, the last: not equal either
                place_N = np.searchsorted(run.key_N, key_N, side="right") - 1
                hit_N = run.key_N[place_N] == key_N
                segment_N[hit_N] = run.segment_N[place_N[hit_N]]
                row_N[hit_N] = run.row_N[place_N[hit_N]]
        return segment_N, row_N
