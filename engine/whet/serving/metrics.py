"""What `whet serve` counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from whet.serving.swapping import Current

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SHARES = (0, 0.1, 0.2, 0.3, 0.5, 0.7, 1)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters of one server. Usable from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def histogram(name: str, meaning: str, sizes: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, meaning, labels, buckets=sizes, registry=self._registry)

        self._requests = Counter(
            "whet_requests", "Answered requests", ("route", "status"), registry=self._registry
        )
        self._seconds = histogram("whet_request_seconds", "From ask to answer", SECONDS, "route")
        self._batch_texts = histogram("whet_batch_texts", "Texts encoded together", TEXTS)
        self._batch_seconds = histogram("whet_batch_seconds", "Seconds of a batch", SECONDS)
        self._waiting = Gauge(
            "whet_waiting_texts", "Texts that wait or are encoded", registry=self._registry
        )
        self._version = Gauge(
            "whet_version", "1 for the version that answers", ("version",), registry=self._registry
        )
        self._changed = histogram(
            "whet_beside_changed", "Share of the documents that the version beside changes", SHARES
        )
        self._beside_seconds = histogram(
            "whet_beside_seconds", "Seconds of a search by the version beside", SECONDS
        )
        self._lists = Gauge(
            "whet_beside_lists", "Lists by who won them", ("winner",), registry=self._registry
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def encoded(self, texts: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_texts.observe(texts)
        self._batch_seconds.observe(seconds)

    def compared(self, changed: float, seconds: float) -> None:
        """Count a search that the version beside answered, too: the share of its documents that are
        others, and seconds.
        """
        self._changed.observe(changed)
        self._beside_seconds.observe(seconds)

    def shows(self, current: Callable[[], Current]) -> None:
        """Read how much waits, and which version answers, whenever somebody asks."""
        self._waiting.set_function(lambda: current().now.batches.waiting)
        self._current = current

    def text(self) -> bytes:
        """All of it in Prometheus's format."""
        self._version.clear()
        self._version.labels(self._current().now.version).set(1)
        self._lists.clear()
        if (trial := self._current().beside) is not None and trial.mode == "interleave":
            for winner, lists in asdict(trial.wins).items():
                self._lists.labels(winner).set(lists)
        return generate_latest(self._registry)
