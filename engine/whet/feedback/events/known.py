"""The events of a store as a session needs them: read once, then only what is new."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from whet.feedback.events.event import Event
from whet.feedback.events.judgments import MARKS, Judged, judgments, standing
from whet.feedback.events.store import EventStore


@dataclass(frozen=True)
class Snapshot:
    """All events at one moment, and what they say."""

    last: int = 0  # number of the last event
    events: tuple[Event, ...] = ()
    standing: dict[str, list[Event]] = field(default_factory=dict)  # by query
    judged: tuple[Judged, ...] = ()

    def of(self, query: str) -> list[Event]:
        """The standing events of a query."""
        return self.standing.get(query.strip(), [])

    def done(self) -> set[str]:
        """Texts of the queries that were judged or skipped."""
        return {query.query for query in self.judged if query or query.skipped}

    def counts(self) -> dict[str, int]:
        """How much was judged, in numbers."""
        kept = [event for events in self.standing.values() for event in events]
        return {
            "events": len(self.events),
            "judged": sum(bool(query) for query in self.judged),
            "answered": sum(query.answered for query in self.judged),
            "skipped": sum(query.skipped for query in self.judged),
            "relevant": sum(len(query.relevant) for query in self.judged),
            "irrelevant": sum(len(query.irrelevant) for query in self.judged),
            "moves": sum(event.action == "move" for event in kept),
        }


class Known:
    """The newest snapshot of a store that others write, too. Usable from any thread."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._snapshot = Snapshot()

    def now(self) -> Snapshot:
        """The snapshot with all that is stored at this moment."""
        with self._lock:
            new = self._store.events(after=self._snapshot.last)
            if new:
                self._snapshot = _snapshot(self._snapshot.events, new)
            return self._snapshot


def _snapshot(before: tuple[Event, ...], new: list[tuple[int, Event]]) -> Snapshot:
    events = (*before, *(event for _, event in new))
    by_query: dict[str, list[Event]] = {}
    for event in standing(events):
        by_query.setdefault(event.query.strip(), []).append(event)
    return Snapshot(new[-1][0], events, by_query, tuple(judgments(events)))


def marks_for(events: list[Event], who: str) -> dict[str, int]:
    """The mark each document of a query shows to a person: their own last one, else what most
    others say. 1 relevant, -1 not; documents without one are left out.

    >>> marks = [Event(id="e", query="q", action="relevant", doc_id="a", who="ann")]
    >>> marks_for(marks, "bob")
    {'a': 1}
    """
    own: dict[str, int] = {}
    of_others: dict[tuple[str, str], int] = {}
    for event in events:
        if event.action in MARKS and event.doc_id is not None:
            if event.who == who:
                own[event.doc_id] = MARKS[event.action]
            else:
                of_others[event.doc_id, event.who] = MARKS[event.action]
    votes: dict[str, int] = {}
    for (doc_id, _), mark in of_others.items():
        votes[doc_id] = votes.get(doc_id, 0) + mark
    seen = {doc_id: (vote > 0) - (vote < 0) for doc_id, vote in votes.items()} | own
    return {doc_id: mark for doc_id, mark in seen.items() if mark}
