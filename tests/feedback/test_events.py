"""Gestures: what is taken, what is refused with the field's name, and what they say together."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whet.errors import DataError
from whet.feedback.events.event import Event, Shown, event_of
from whet.feedback.events.judgments import judgments, order_after, passed_by, standing

NAMES = [f"d{number}" for number in range(6)]
SHOWN = tuple(Shown(name, 1 - number / 10) for number, name in enumerate(NAMES))


def gesture(action: str, doc_id: str | None = None, **said) -> Event:
    said = {"query": "how to", "shown": SHOWN, **said}
    return Event(uuid4().hex, action=action, doc_id=doc_id, **said)


def only(events: list[Event], **options):
    (found,) = judgments(events, **options)
    return found


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "x"}, "id (32"),
        ({"id": 3}, "id"),
        ({"query": "  "}, "query"),
        ({"query": "a" * 100_001}, "query"),
        ({"query": "a\0b"}, "query"),
        ({"query": "\ud800"}, "query"),
        ({"action": "love"}, "action (one of"),
        ({"doc_id": None}, "doc_id"),
        ({"doc_id": "d" * 4_097}, "doc_id"),
        ({"shown": [["d0", float("nan")]]}, "shown"),
        ({"shown": [["d0"]]}, "shown"),
        ({"shown": [["d0", 1.0]] * 201}, "shown"),
        ({"action": "move", "place": 6}, "place"),
        ({"action": "move", "place": True}, "place"),
        ({"action": "move", "place": 0, "doc_id": "d9"}, "shown (a moved"),
        ({"action": "undo"}, "target"),
        ({"time": float("inf")}, "time"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_a_wrong_event_is_refused_by_the_name_of_its_field(change, named):
    right = json.loads(gesture("relevant", "d1").to_json())
    assert event_of(right, "here").doc_id == "d1"
    with pytest.raises(DataError, match=r"^here: ") as error:
        event_of(right | change, "here")
    assert named in str(error.value)


def test_an_event_survives_its_line():
    event = gesture("move", "d4", place=1, query_id="q1", model="m", who="me", time=3.5)
    assert event_of(json.loads(event.to_json()), "") == event


def test_a_move_says_something_of_those_it_passed_alone():
    up = gesture("move", "d4", place=1)
    assert passed_by(up) == [("d4", "d1"), ("d4", "d2"), ("d4", "d3")]
    down = gesture("move", "d1", place=3)
    assert passed_by(down) == [("d2", "d1"), ("d3", "d1")]
    assert passed_by(gesture("move", "d2", place=2)) == []


@given(st.integers(0, 5), st.integers(0, 5))
def test_a_move_and_its_way_back_say_nothing(start, end):
    there = gesture("move", NAMES[start], place=end)
    order = order_after([there], NAMES)
    shown = tuple(Shown(name, 0.5) for name in order)
    back = gesture("move", NAMES[start], place=start, shown=shown)
    assert order_after([there, back], NAMES) == NAMES
    # the later word counts: the way back turns each pair round
    pairs = only([there, back]).preferences if start != end else []
    assert sorted(pairs) == sorted((b, a) for a, b in passed_by(there))


def test_the_last_mark_of_a_person_counts():
    marks = [gesture("relevant", "d1"), gesture("irrelevant", "d1"), gesture("relevant", "d2")]
    found = only([*marks, gesture("unmark", "d2")])
    assert (found.relevant, found.irrelevant) == ([], ["d1"])


def test_the_majority_counts_and_a_tie_says_nothing():
    marks = [gesture("relevant", "d1", who=who) for who in "ab"]
    against = gesture("irrelevant", "d1", who="c")
    assert only([*marks, against]).relevant == ["d1"]
    assert not only([marks[0], against])


def test_undo_and_redo():
    mark, other = gesture("relevant", "d1"), gesture("relevant", "d2")
    undo = gesture("undo", target=mark.id)
    redo = gesture("redo", target=mark.id)
    assert only([mark, other, undo]).relevant == ["d2"]
    assert only([mark, other, undo, redo]).relevant == ["d1", "d2"]
    assert standing([mark, undo]) == []
    assert standing([undo, mark]) == [mark]  # what came before a mark cannot take it back


def test_unmarked_documents_are_negatives_only_if_asked_and_above_what_was_touched():
    mark = gesture("relevant", "d2")
    assert only([mark]).irrelevant == []
    assert only([mark], unmarked_negative=True).irrelevant == ["d0", "d1"]
    dragged = [mark, gesture("move", "d4", place=1)]
    # d4 was put over d1 to d3: of those nothing more is known
    assert only(dragged, unmarked_negative=True).irrelevant == ["d0"]


def test_queries_are_apart_and_a_skipped_one_says_so():
    events = [gesture("relevant", "d1"), gesture("skip", query="other")]
    first, second = judgments(events)
    assert first and not first.skipped
    assert not second and second.skipped
    assert judgments([replace(events[0], query=" how to ")])[0].query == "how to"


def test_a_document_pulled_in_stands_first():
    pulled = gesture("relevant", "d9")
    assert order_after([pulled, gesture("move", "d3", place=0)], NAMES)[:2] == ["d3", "d9"]
