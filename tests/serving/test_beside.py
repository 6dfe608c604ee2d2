"""Another version beside the one that answers: unseen, or in one list with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_parts import Serving, other_model, other_query_side
from test_serve_command import QUERY, serving, whet_command

from whet.config import ServeConfig
from whet.errors import ConfigError
from whet.feedback.events.store import EventStore
from whet.serving.beside.clicked import Clicks
from whet.serving.beside.lists import OpenLists
from whet.serving.command import serve_command

SOON_S = 20


@pytest.fixture(scope="module")
def turned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return other_query_side(tiny_model, tmp_path_factory.mktemp("turned") / "model")


def put_beside(served: Serving, model: Path, **how: str) -> dict[str, Any]:
    answer = served.owner().post("/versions/beside", json={"model": str(model), **how})
    assert answer.status_code == 200, answer.text
    return answer.json()


def with_clicks(model: Path, data: Path, folder: Path, lists: OpenLists | None = None) -> Serving:
    store = EventStore(folder / "events.sqlite")
    return Serving(model, data, clicks=Clicks(store, lists or OpenLists(1800)))


def test_a_shadow_changes_no_answer_and_tells_how_much_it_would(
    tiny_model: Path, tiny_data: Path, turned: Path
) -> None:
    served = Serving(tiny_model, tiny_data)
    searches = [{"query": QUERY, "k": 5}, {"query": "guka", "k": 3, "not_ids": ["d1"]}]
    with TestClient(served.app) as client:  # one event loop for all requests
        before = [client.post("/search", json=asked).json()["hits"] for asked in searches]
        told = put_beside_in(client, turned)
        assert told["mode"] == "shadow" and "lists" not in told
        assert served.current.beside is not None
        assert served.current.beside.served.corpus is served.current.now.corpus
        after = [client.post("/search", json=asked).json()["hits"] for asked in searches]
        assert after == before
        state = beside_after(client, 2)
        text = client.get("/metrics").text
        client.post("/search", json=searches[0] | {"model": served.current.now.version})
        assert "whet_beside_seconds_count 2.0" in text and "whet_beside_changed_count 2.0" in text
        expected = [
            share_changed(hits, client.post("/search", json=asked).json()["hits"])
            for hits, asked in zip(before, swapped(client, turned, searches), strict=True)
        ]
    assert state["left_out"] == 0 and state["seconds"] > 0
    assert state["changed"] == pytest.approx(sum(expected) / 2)


def put_beside_in(client: TestClient, model: Path) -> dict[str, Any]:
    answer = client.post("/versions/beside", json={"model": str(model)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def swapped(client: TestClient, model: Path, asked: list[Any]) -> list[Any]:
    used = client.post("/versions/use", json={"model": str(model)})
    assert used.status_code == 200
    assert client.get("/versions").json()["beside"] is None  # use= ends it
    return asked


def beside_after(client: TestClient, searches: int) -> dict[str, Any]:
    end = time.monotonic() + SOON_S
    while (state := client.get("/versions").json()["beside"])["searches"] < searches:
        assert time.monotonic() < end, state
        time.sleep(0.05)
    return state


def share_changed(hits: list[Any], others: list[Any]) -> float:
    ids, other_ids = ({hit["id"] for hit in found} for found in (hits, others))
    return len(ids - other_ids) / len(ids)


def test_both_serve_one_list_and_clicks_are_of_who_placed_the_document(
    tiny_model: Path, tiny_data: Path, turned: Path, tmp_path: Path
) -> None:
    served = with_clicks(tiny_model, tiny_data, tmp_path)
    client = served.client()
    alone = client.post("/search", json={"query": QUERY, "k": 6}).json()["hits"]
    told = put_beside(served, turned, mode="interleave")
    mixed = client.post("/search", json={"query": QUERY, "k": 6}).json()
    ids = [hit["id"] for hit in mixed["hits"]]
    assert len(set(ids)) == 6 and mixed["version"] == served.current.now.version
    assert set(mixed["hits"][0]) == {"id", "score", "text"}  # nothing tells whose it is
    pure = client.post("/search", json={"query": QUERY, "k": 6, "model": mixed["version"]}).json()
    assert pure["hits"] == alone
    for doc in ids:
        assert client.post("/events", json={"search": mixed["search"], "doc": doc}).json()["new"]
    models = {event.doc_id: event.model for _, event in served_events(tmp_path)}
    assert set(models.values()) == {told["version"], mixed["version"]}
    only_other = [doc for doc in ids if doc not in {hit["id"] for hit in alone}]
    assert only_other and {models[doc] for doc in only_other} == {told["version"]}


def served_events(folder: Path) -> list[Any]:
    return EventStore(folder / "events.sqlite").events()


@pytest.mark.parametrize(("prefers", "shipped"), [("beside", True), ("now", False)])
def test_clicks_decide_and_the_better_one_answers(
    tiny_model: Path, tiny_data: Path, turned: Path, tmp_path: Path, prefers: str, shipped: bool
) -> None:
    clock = [0.0]
    served = with_clicks(tiny_model, tiny_data, tmp_path, OpenLists(10, lambda: clock[0]))
    client, first = served.client(), served.current.now.version
    told = put_beside(served, turned, mode="interleave", decide="auto")
    assert told["decide"] == "auto" and told["decision"] == "not decided yet"
    wanted = told["version"] if prefers == "beside" else first
    for _ in range(14):  # twelve wins of twelve decide
        mixed = client.post("/search", json={"query": QUERY, "k": 6}).json()
        assert served.clicks is not None
        listed = served.clicks.lists.find(mixed["search"])
        assert listed is not None
        doc = next(
            d.doc_id for d in listed.drafted if d.team and listed.version_of(d.doc_id) == wanted
        )
        assert (
            client.post("/events", json={"search": mixed["search"], "doc": doc}).status_code == 200
        )
    assert client.get("/versions").json()["beside"]["lists"]["ties"] == 0
    clock[0] = 10
    state = client.get("/versions").json()
    assert state["beside"] is None and state["ended"]["by"] == "clicks"
    assert state["ended"]["decision"] == ("ship" if shipped else "keep")
    assert state["now"]["version"] == (told["version"] if shipped else first)
    assert (state["before"] is not None) == shipped


def test_without_a_decision_of_its_own_the_server_only_tells(
    tiny_model: Path, tiny_data: Path, turned: Path, tmp_path: Path
) -> None:
    served = with_clicks(tiny_model, tiny_data, tmp_path, OpenLists(0))
    client = served.client()
    put_beside(served, turned, mode="interleave")
    client.post("/search", json={"query": QUERY, "k": 6})
    state = client.get("/versions").json()["beside"]
    assert state["lists"] == {"now": 0, "beside": 0, "ties": 1}
    assert 'whet_beside_lists{winner="ties"} 1.0' in client.get("/metrics").text
    assert served.owner().post("/versions/alone").status_code == 200
    told = client.get("/versions").json()
    assert told["beside"] is None and told["ended"]["by"] == "hand"
    assert served.owner().post("/versions/alone").status_code == 400


def test_a_version_beside_that_fails_costs_no_answer(
    tiny_model: Path,
    tiny_data: Path,
    turned: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served = with_clicks(tiny_model, tiny_data, tmp_path)
    client = served.client()
    alone = client.post("/search", json={"query": QUERY}).json()["hits"]
    put_beside(served, turned, mode="interleave")
    contender = served.current.beside
    assert contender is not None

    async def fails(asked: object) -> None:
        raise ConfigError("it cannot")

    monkeypatch.setattr(contender.served, "search", fails)
    assert client.post("/search", json={"query": QUERY}).json()["hits"] == alone
    assert contender.state()["left_out"] == 1
    wrong = client.post("/search", json={"query": QUERY, "ids": ["nowhere"]})
    assert wrong.status_code == 400


def test_what_cannot_be_beside_is_one_line(
    tiny_model: Path, tiny_data: Path, turned: Path, tmp_path: Path
) -> None:
    served = Serving(tiny_model, tiny_data)
    for sent, why in [
        ({"model": str(turned), "mode": "interleave"}, "events=FOLDER"),
        ({"model": str(tiny_model)}, "is the version that answers"),
        ({"model": str(tmp_path / "nowhere")}, "nowhere"),
        ({"model": str(turned), "mode": "both"}, "mode"),
    ]:
        answer = served.owner().post("/versions/beside", json=sent)
        assert answer.status_code == 400 and why in answer.json()["error"]["message"]
        client = served.client().post("/versions/beside", json=sent)
        assert client.status_code == 401  # the key of clients changes nothing
    assert served.current.beside is None
    for config, why in [
        (ServeConfig(run="minilm", decide="auto"), "Say beside=RUN"),
        (ServeConfig(beside="minilm", alone=True), "give one of them alone"),
    ]:
        with pytest.raises(ConfigError, match=why):
            serve_command(config)


@pytest.mark.slow
def test_a_trial_by_commands(
    tiny_model: Path, tiny_data: Path, turned: Path, tmp_path: Path
) -> None:
    both = other_model(tiny_model, tmp_path / "both")
    options = (str(tiny_model), f"data={tiny_data}", f"events={tmp_path / 'kept'}")
    with serving(tmp_path, *options) as (_, url):
        port = f"port={url.rpartition(':')[2]}"
        put = whet_command(tmp_path, "serve", f"beside={both}", port)
        assert put.returncode == 0 and "in its shadow" in put.stdout, put.stderr
        auto = whet_command(tmp_path, "serve", f"beside={turned}", "decide=auto", port)
        assert auto.returncode == 2 and "mode=interleave" in auto.stderr
        words = (f"beside={turned}", "mode=interleave", "decide=auto")
        mixed = whet_command(tmp_path, "serve", *words, port)
        assert mixed.returncode == 0 and "interleaved with it" in mixed.stdout, mixed.stderr
        ended = whet_command(tmp_path, "serve", "alone=true", port)
        assert ended.returncode == 0 and f"{tiny_model} answers now" in ended.stdout
        again = whet_command(tmp_path, "serve", "alone=true", port)
        assert again.returncode == 2 and "no version beside" in again.stderr
