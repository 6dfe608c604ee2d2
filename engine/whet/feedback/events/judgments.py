"""What the events say, taken together: per query the documents marked, and which is to stand over
which.

Rules, and why:

- A mark says relevant or not relevant; the last one of a person counts. Where people disagree the
  majority does, and a tie says nothing.
- A move says something of the moved document and of those it passed, and of no other pair: dragging
  one up from place 7 to 2 says that it belongs over the five that stood between. Whoever moves one
  document has not sorted the rest.
- Undone events say nothing.
- A click says nothing here: who opens a document has not judged it.
- A document without a mark is not a negative: people stop when they have found something. With
  `unmarked_negative` it is one, but only above the lowest document that the person touched: what
  stands below was perhaps never read (the cascade model: Craswell et al., WSDM 2008).
- A duplicate of a relevant document is as relevant (`whet.feedback.learn.lessons`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from whet.feedback.events.event import CLICK, Event

MARKS = {"relevant": 1, "irrelevant": -1, "unmark": 0}


@dataclass
class Judged:
    """What is known of one query: ids of documents marked relevant and not, and (over, under) pairs
    of documents.
    """

    query: str
    query_id: str | None = None
    relevant: list[str] = field(default_factory=list)
    irrelevant: list[str] = field(default_factory=list)
    preferences: list[tuple[str, str]] = field(default_factory=list)
    skipped: bool = False

    def __bool__(self) -> bool:
        return bool(self.relevant or self.irrelevant or self.preferences)

    @property
    def answered(self) -> bool:
        """Whether a ranking can be scored by it: a document is relevant, or was put over others
        and under none.
        """
        under = {name for _, name in self.preferences}
        best = {name for name, _ in self.preferences} - under - set(self.irrelevant)
        return bool(self.relevant or best)


def standing(events: Iterable[Event]) -> list[Event]:
    """The gestures of judging that were not taken back, without undo and redo themselves, in order.
    Clicks are none.
    """
    kept: dict[str, Event] = {}
    undone: set[str] = set()
    for event in events:
        if event.action == "undo" and event.target in kept:
            undone.add(event.target)
        elif event.action == "redo":
            undone.discard(event.target or "")
        elif event.action not in ("undo", "redo", CLICK):
            kept[event.id] = event
    return [event for event in kept.values() if event.id not in undone]


def judgments(events: Iterable[Event], *, unmarked_negative: bool = False) -> list[Judged]:
    """What the events say of each query, in the order in which queries were first judged.

    Queries of the same text (trimmed) are one.
    """
    by_query: dict[str, list[Event]] = {}
    for event in standing(events):
        by_query.setdefault(event.query.strip(), []).append(event)
    return [
        _of_query(query, own, unmarked_negative=unmarked_negative)
        for query, own in by_query.items()
    ]


def _of_query(query: str, events: list[Event], *, unmarked_negative: bool) -> Judged:
    votes = _votes(events)
    judged = Judged(query, next((event.query_id for event in events if event.query_id), None))
    judged.relevant = [doc_id for doc_id, vote in votes.items() if vote > 0]
    judged.irrelevant = [doc_id for doc_id, vote in votes.items() if vote < 0]
    judged.preferences = _preferences(events)
    judged.skipped = bool(events) and events[-1].action == "skip"
    if unmarked_negative and judged.relevant:
        known = set(votes)
        known.update(name for pair in judged.preferences for name in pair)
        passed = dict.fromkeys(name for event in events for name in _above_touched(event))
        judged.irrelevant += [name for name in passed if name not in known]
    return judged


def _votes(events: list[Event]) -> dict[str, int]:
    """Each document's votes over people; a person's last mark is the one that counts."""
    last: dict[tuple[str, str], int] = {}
    for event in events:
        if event.action in MARKS and event.doc_id is not None:
            last[event.who, event.doc_id] = MARKS[event.action]
    votes: dict[str, int] = {}
    for (_, doc_id), mark in last.items():
        votes[doc_id] = votes.get(doc_id, 0) + mark
    return votes


def _preferences(events: list[Event]) -> list[tuple[str, str]]:
    """(over, under) of each move; where moves contradict each other the more frequent, then
    neither.
    """
    last: dict[tuple[str, frozenset[str]], tuple[str, str]] = {}
    for event in events:
        for pair in passed_by(event):
            last[event.who, frozenset(pair)] = pair
    counts = Counter(last.values())
    return [pair for pair in counts if counts[pair] > counts[pair[1], pair[0]]]


def passed_by(event: Event) -> list[tuple[str, str]]:
    """The (over, under) pairs a move says: the moved document and each of those it passed."""
    if event.action != "move" or event.doc_id is None or event.place is None:
        return []
    names = [result.doc_id for result in event.shown]
    start = names.index(event.doc_id)
    if event.place < start:
        return [(event.doc_id, name) for name in names[event.place : start]]
    return [(name, event.doc_id) for name in names[start + 1 : event.place + 1]]


def order_after(events: Iterable[Event], ids: list[str]) -> list[str]:
    """A list of document ids with one query's standing moves made again on it.

    Documents that people pulled in and that are not in the list stand first.

    >>> pull = Event(id="e", query="q", action="relevant", doc_id="c")
    >>> order_after([pull], ["a", "b"])
    ['c', 'a', 'b']
    """
    order = list(ids)
    for event in events:
        if event.doc_id is None or event.action not in ("move", "relevant"):
            continue
        if event.action == "relevant":
            if event.doc_id not in order:
                order.insert(0, event.doc_id)
        elif event.doc_id in order and event.place is not None:
            order.remove(event.doc_id)
            order.insert(event.place, event.doc_id)
    return order


def _above_touched(event: Event) -> list[str]:
    """The documents shown over the one that the gesture is about."""
    names = [result.doc_id for result in event.shown]
    return names[: names.index(event.doc_id)] if event.doc_id in names else []
