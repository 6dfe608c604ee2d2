"""Which queries the model is least sure of: those a person's judgment teaches it most about.

Margin sampling (Settles 2009): sureness is how far the best document scores over the second.
"""

from __future__ import annotations

import threading
import time

import numpy as np

from whet.data.load import Dataset
from whet.feedback.serve.searcher import Searcher

MOST_QUERIES = 5_000  # measured, from the first on
AT_ONCE = 16  # a person's search waits for so many at most
PAUSE_S = 0.01  # lets who waits go first
HOLD_S = 1.0  # after a person's request: more may follow, and they need the processor


class Sureness:
    """The margin of each query, measured in the background; unknown ones count as sure."""

    def __init__(self, data: Dataset, searcher: Searcher) -> None:
        self._queries, self._searcher = data.queries, searcher
        self._margin_Q = np.full(min(len(data.queries), MOST_QUERIES), np.nan, np.float32)
        self._ended = threading.Event()
        self._held_until = 0.0
        self._thread = threading.Thread(target=self._measure, name="sureness", daemon=True)
        self._thread.start()

    def order(self) -> np.ndarray:
        """Query rows, the least sure first; then those not measured yet, as the data have them."""
        return np.argsort(self._margin_Q, kind="stable")  # NaN last

    def margin(self, row: int) -> float | None:
        """How far apart the two best documents of a query score; None where not measured yet."""
        value = float(self._margin_Q[row])
        return None if np.isnan(value) else value

    def hold(self) -> None:
        """A person waits for an answer: measure a little later."""
        self._held_until = time.monotonic() + HOLD_S

    def wait(self) -> None:
        """Until all are measured."""
        self._thread.join()

    def stop(self) -> None:
        """Measure no further."""
        self._ended.set()
        self._thread.join()

    def _measure(self) -> None:
        for start in range(0, len(self._margin_Q), AT_ONCE):
            while not self._ended.wait(PAUSE_S) and time.monotonic() < self._held_until:
                pass
            if self._ended.is_set():
                return
            rows = np.arange(start, min(start + AT_ONCE, len(self._margin_Q)))
            texts = self._queries.texts(rows)
            scores_Q2, _ = self._searcher.best(texts, self._searcher.vectors(texts), 2)
            if scores_Q2.shape[1] < 2:  # one document: there is nothing to be unsure of
                return
            self._margin_Q[rows] = scores_Q2[:, 0] - scores_Q2[:, 1]
