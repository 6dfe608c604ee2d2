"""Clicks on what was found: which are taken, that they stay, and that they judge nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from serving_parts import Serving
from test_serve_command import KEY, serving, whet_command

from whet.feedback.events.event import Event, Shown, event_of
from whet.feedback.events.exports import events_jsonl
from whet.feedback.events.judgments import judgments, standing
from whet.feedback.events.known import Known
from whet.feedback.events.store import EventStore, read_events
from whet.serving.beside.clicked import Clicks
from whet.serving.beside.draft import Drafted
from whet.serving.beside.lists import Listed, OpenLists

QUERY = "bace difo"


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "events.sqlite")


@pytest.fixture
def clicked(tiny_model: Path, tiny_data: Path, store: EventStore) -> Serving:
    return Serving(tiny_model, tiny_data, clicks=Clicks(store, OpenLists(1800)))


def test_a_click_is_an_event_once(clicked: Serving, store: EventStore) -> None:
    client = clicked.client()
    found = client.post("/search", json={"query": QUERY, "k": 4}).json()
    doc = found["hits"][2]["id"]
    click = {"search": found["search"], "doc": doc, "position": 2, "kind": "click"}
    assert client.post("/events", json=click).json() == {"new": True}
    assert client.post("/events", json=click).json() == {"new": False}  # as a page sends again
    ((_, event),) = store.events()
    assert (event.query, event.action, event.doc_id, event.place) == (QUERY, "click", doc, 2)
    assert (event.target, event.model) == (found["search"], clicked.current.now.version)
    hits = [(hit["id"], hit["score"]) for hit in found["hits"]]
    assert [(shown.doc_id, shown.score) for shown in event.shown] == hits
    assert abs(event.time - time.time()) < 60
    other = {"search": found["search"], "doc": found["hits"][0]["id"]}
    assert client.post("/events", json=other).json() == {"new": True}
    assert store.events()[1][1].place == 0


def test_what_is_no_click_is_refused_in_a_line(clicked: Serving, store: EventStore) -> None:
    client = clicked.client()
    search = client.post("/search", json={"query": QUERY, "k": 3}).json()["search"]
    for sent, status, why in [
        ({"search": "0" * 32, "doc": "d1"}, 404, "takes clicks"),
        ({"search": search, "doc": "nowhere"}, 400, "'nowhere' is not in that answer"),
        ({"search": search, "doc": "d1", "position": -1}, 400, "position"),
        ({"search": search, "doc": "d1", "position": 200}, 400, "position"),
        ({"search": search, "doc": "d1", "kind": "relevant"}, 400, "kind"),
        ({"doc": "d1"}, 400, "search"),
    ]:
        answer = client.post("/events", json=sent)
        message = answer.json()["error"]["message"]
        assert answer.status_code == status and why in message and "\n" not in message
    assert store.events() == []


def test_without_a_folder_none_are_taken(tiny_model: Path, tiny_data: Path) -> None:
    client = Serving(tiny_model, tiny_data).client()
    search = client.post("/search", json={"query": QUERY}).json()["search"]
    answer = client.post("/events", json={"search": search, "doc": "d1"})
    assert answer.status_code == 409 and "events=FOLDER" in answer.json()["error"]["message"]


def test_a_click_that_cannot_be_stored_is_not_acknowledged(
    clicked: Serving, store: EventStore
) -> None:
    client = clicked.client()
    found = client.post("/search", json={"query": QUERY, "k": 1}).json()
    store.close()
    answer = client.post("/events", json={"search": found["search"], "doc": found["hits"][0]["id"]})
    assert answer.status_code == 503 and "Send it again" in answer.json()["error"]["message"]


def test_a_click_judges_nothing(store: EventStore, tmp_path: Path) -> None:
    shown = (Shown("a", 0.9), Shown("b", 0.8), Shown("c", 0.7))
    mark = Event(id="1" * 32, query="q", action="relevant", doc_id="a", shown=shown)
    skip = Event(id="2" * 32, query="other", action="skip")
    clicks = [
        Event(id=f"{3 + n}" * 32, query=query, action="click", doc_id="c", place=2, shown=shown)
        for n, query in enumerate(("q", "other", "third"))
    ]
    alone = judgments([mark, skip], unmarked_negative=True)
    assert judgments([mark, skip, *clicks], unmarked_negative=True) == alone
    assert standing(clicks) == []
    store.add([mark, skip, *clicks])
    counts = Known(store).now().counts()
    assert counts["events"] == 5 and counts["relevant"] == counts["judged"] == 1
    assert "third" not in Known(store).now().done()
    exported = tmp_path / "events.jsonl"
    exported.write_text(events_jsonl([mark, *clicks]))
    assert read_events(exported) == [mark, *clicks]
    assert event_of(json.loads(clicks[0].to_json()), "here") == clicks[0]


def test_lists_close_in_time_and_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, closed = [0.0], []
    lists = OpenLists(10, lambda: clock[0])

    def keep(query: str) -> Listed:
        listed = Listed(query, "v", (Shown("a", 1.0),), closed=closed.append)
        lists.keep(listed)
        return listed

    first = keep("first")
    clock[0] = 5
    second = keep("second")
    assert lists.find(first.id) is first and closed == []
    clock[0] = 10
    assert lists.find(first.id) is None and closed == [first]
    monkeypatch.setattr("whet.serving.beside.lists.MOST_CHARS", 12)
    third = keep("third")
    assert closed == [first, second] and lists.find(third.id) is third


def test_a_list_knows_whose_a_document_is() -> None:
    drafted = [Drafted("a", None), Drafted("b", "beside"), Drafted("c", "now")]
    listed = Listed("q", "old", (), drafted, "new")
    assert [listed.version_of(name) for name in "abc"] == ["old", "new", "old"]


@pytest.mark.slow
def test_acknowledged_clicks_outlive_a_kill(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    folder, told = tmp_path / "kept", []
    options = (str(tiny_model), f"data={tiny_data}", f"events={folder}")
    with serving(tmp_path / "cache", *options) as (process, url):

        def click() -> None:
            connection = HTTPConnection(urlsplit(url).netloc)
            headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}

            def post(route: str, sent: dict[str, object]) -> dict[str, object]:
                connection.request("POST", route, json.dumps(sent), headers)
                answer = connection.getresponse()
                assert answer.status == 200
                return json.load(answer)

            while True:
                try:
                    found = post("/search", {"query": QUERY, "k": 3})
                    for hit in found["hits"]:
                        assert post("/events", {"search": found["search"], "doc": hit["id"]})["new"]
                        told.append((found["search"], hit["id"]))
                except (OSError, ValueError, HTTPException):
                    return

        threads = [threading.Thread(target=click) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        os.kill(process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(20)
    events = [event for _, event in EventStore(folder / "events.sqlite").events()]
    stored = {(event.target, event.doc_id) for event in events}
    assert len(told) > 20 and set(told) <= stored
    refused = whet_command(tmp_path, "serve", str(tiny_model), f"events={folder}", "port=0")
    assert refused.returncode == 2 and "Give data=PATH, too" in refused.stderr
