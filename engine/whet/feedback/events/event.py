"""One gesture of a person who looks at search results, as an immutable row."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from whet.errors import DataError

CLICK = "click"  # on a result of a search that was served: no judgment
ACTIONS = ("relevant", "irrelevant", "unmark", "move", "skip", "undo", "redo", CLICK)
NEEDS_DOCUMENT = ("relevant", "irrelevant", "unmark", "move", CLICK)
LONGEST_QUERY = 100_000  # characters; with its list it fits into a request of a page
LONGEST_LIST = 200  # documents shown
LONGEST_NAME = 4_096  # characters of an id, such as a URL
ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Shown:
    """A document of the list as it stood; `score` is None for one that was pulled in by hand."""

    doc_id: str
    score: float | None


@dataclass(frozen=True)
class Event:
    """A gesture: on which query and list, what, by whom, with which model.

    `shown` is the list as it was displayed just before, first first. `place` is where a moved
    document came to stand, counted from 0. `target` is the id of the event that an undo takes back
    or a redo restores. `id` (32 hexadecimal digits) is made where the gesture is, so that sending
    it twice stores it once. `time` is in seconds since 1970, UTC.
    """

    id: str
    query: str
    action: str
    shown: tuple[Shown, ...] = ()
    query_id: str | None = None
    doc_id: str | None = None
    place: int | None = None
    target: str | None = None
    model: str = ""
    who: str = ""
    time: float = 0.0

    def to_json(self) -> str:
        """The event as one line."""
        record = asdict(self)
        record["shown"] = [[result.doc_id, result.score] for result in self.shown]
        return json.dumps(record, ensure_ascii=False)


def event_of(record: Any, where: str) -> Event:
    """An event from parsed JSON, as a page or an export gives it; `where` begins the message.

    Raises DataError that names the field at fault.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where}: an event is an object, this is of type {type(record).__name__}.")
    unknown = set(record) - set(Event.__dataclass_fields__)
    _need(not unknown, where, f"unknown field {min(unknown, default='')!r}")
    shown = record.get("shown", [])
    _need(isinstance(shown, list) and len(shown) <= LONGEST_LIST, where, "shown")
    event = Event(
        id=_text(record, "id", where),
        query=_text(record, "query", where),
        action=_text(record, "action", where),
        shown=tuple(_shown_result(pair, where) for pair in shown),
        query_id=_optional(record, "query_id", where),
        doc_id=_optional(record, "doc_id", where),
        place=_place(record, where),
        target=_optional(record, "target", where),
        model=_optional(record, "model", where) or "",
        who=_optional(record, "who", where) or "",
        time=_time(record, where),
    )
    _check(event, where)
    return event


def _check(event: Event, where: str) -> None:
    _need(ID.fullmatch(event.id) is not None, where, "id (32 hexadecimal digits)")
    _need(bool(event.query.strip()) and len(event.query) <= LONGEST_QUERY, where, "query")
    _need(event.action in ACTIONS, where, f"action (one of {', '.join(ACTIONS)})")
    if event.action in NEEDS_DOCUMENT:
        _need(event.doc_id is not None, where, f"doc_id ({event.action} is of a document)")
    if event.action in ("undo", "redo"):
        target = event.target or ""
        _need(ID.fullmatch(target) is not None, where, "target (the id of the event meant)")
    if event.action == "move":
        names = [result.doc_id for result in event.shown]
        _need(event.doc_id in names, where, "shown (a moved document is in the list)")
        placed = event.place is not None and event.place < len(names)
        _need(placed, where, "place (a position in the list, from 0)")


def _need(right: bool, where: str, what: str) -> None:
    if not right:
        raise DataError(f"{where}: {what} is missing or wrong. Nothing of it was stored.")


def _text(record: dict[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    fine = _is_text(value) and (name == "query" or len(value) <= LONGEST_NAME)
    _need(fine, where, name)
    assert isinstance(value, str)
    return value


def _optional(record: dict[str, Any], name: str, where: str) -> str | None:
    return None if record.get(name) is None else _text(record, name, where)


def _place(record: dict[str, Any], where: str) -> int | None:
    value = record.get("place")
    placed = type(value) is int and 0 <= value < LONGEST_LIST
    _need(value is None or placed, where, "place (a position in the list, from 0)")
    return value


def _time(record: dict[str, Any], where: str) -> float:
    value = record.get("time")
    _need(value is None or _is_number(value), where, "time (seconds since 1970)")
    return 0.0 if value is None else float(value)


def _shown_result(pair: Any, where: str) -> Shown:
    fine = isinstance(pair, list | tuple) and len(pair) == 2 and _is_text(pair[0])
    _need(fine and len(pair[0]) <= LONGEST_NAME, where, "shown ([document id, score] pairs)")
    doc_id, score = pair
    _need(score is None or _is_number(score), where, "shown (a score is a number or null)")
    return Shown(doc_id, None if score is None else float(score))


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether it is a text that a file can hold: no NUL, no half of a pair of surrogates."""
    if not isinstance(value, str):
        return False
    return "\0" not in value and value.encode("utf-8", "replace").decode() == value


def _is_number(value: Any) -> bool:
    """Whether it is a number that float64 holds: JSON knows larger ones, and Python NaN."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and abs(value) <= sys.float_info.max
