"""The answers of late, which may be clicked yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from whet.feedback.events.event import LONGEST_LIST, Shown
from whet.serving.beside.draft import Drafted

MOST_CHARS = 64 << 20  # of queries and ids; beyond it the oldest answers take no clicks any more


@dataclass(eq=False)
class Listed:
    """An answer: its query, the version it is of, what was shown and, if it was interleaved, by
    whom. `beside` is the other version then. `closed` is told when no click can come any more.
    """

    query: str
    version: str
    shown: tuple[Shown, ...]
    drafted: Sequence[Drafted] = ()
    beside: str = ""
    closed: Callable[[Listed], None] = lambda listed: None
    clicked: set[str] = field(default_factory=set)
    id: str = field(default_factory=lambda: uuid4().hex)
    until: float = 0.0

    def place_of(self, doc_id: str) -> int | None:
        """Where a document stands, from 0; None where it was not shown."""
        places = (place for place, shown in enumerate(self.shown) if shown.doc_id == doc_id)
        return next(places, None)

    def version_of(self, doc_id: str) -> str:
        """The version that placed a document."""
        placed = Drafted(doc_id, "beside") in self.drafted
        return self.beside if placed else self.version

    @property
    def chars(self) -> int:
        """About how much memory it takes."""
        return len(self.query) + sum(len(shown.doc_id) for shown in self.shown)


class OpenLists:
    """The answers of the last `seconds`, by id. Used in the event loop's thread."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._now = seconds, now
        self._open: dict[str, Listed] = {}  # oldest first
        self._chars = 0

    def keep(self, listed: Listed) -> None:
        """Let it be clicked from now on, the first LONGEST_LIST documents of it."""
        listed.shown = listed.shown[:LONGEST_LIST]
        listed.until = self._now() + self._seconds
        self._open[listed.id] = listed
        self._chars += listed.chars
        self.close_old()

    def find(self, search: str) -> Listed | None:
        """The answer of this id; None where there is none, or it is too old."""
        self.close_old()
        return self._open.get(search)

    def close_old(self) -> None:
        """Close what nobody may click any more."""
        now = self._now()
        while self._open:
            oldest = next(iter(self._open.values()))
            if oldest.until > now and self._chars <= MOST_CHARS:
                return
            del self._open[oldest.id]
            self._chars -= oldest.chars
            oldest.closed(oldest)
