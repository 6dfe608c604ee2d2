"""Who is kept out of the search page, and what its answers forbid a browser."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from guarded_site import HOST, ORIGIN, PORT, Site
from labelling import event, open_folder, served

from whet.errors import ConfigError
from whet.feedback.serve.access import ENTER, HELP, KEY_HEADER, LARGEST_BODY, Keys
from whet.web.listening import hosts_of, listen, shown_host, warning_of

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def site(
    tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("home") / "feedback"
    session, tuner = open_folder(tiny_data, tiny_model, home)
    yield Site(session, tuner, home)
    session.close()


def test_a_browser_gets_a_key_for_its_token_and_never_a_cookie(site: Site) -> None:
    client, token = site.client(key=False), site.keys.issue()
    opened = client.get("/", params={"token": token}, headers=BROWSER)
    assert opened.status_code == 200 and "main.js" in opened.text
    entered = client.post(ENTER, json={"token": token}, headers=site.headers())
    assert entered.json() == {"key": site.keys.key}
    assert "set-cookie" not in opened.headers and "set-cookie" not in entered.headers
    assert client.get("/api/state").status_code == 401  # nothing came with the request by itself
    key = {KEY_HEADER: entered.json()["key"]}
    assert client.get("/api/state", headers=key).status_code == 200


def test_a_script_gets_a_cookie_for_its_token(site: Site) -> None:
    client = site.client(key=False)
    answer = client.get("/", params={"token": site.keys.issue()})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    assert client.get("/api/state").status_code == 200  # with the cookie it got


@pytest.mark.parametrize("first", ["script", "browser"])
def test_a_token_is_good_once_and_the_owner_is_told(site: Site, first: str) -> None:
    told: list[str] = []
    client, token = site.client(key=False), site.keys.issue(lambda: told.append("used"))
    client.get("/", params={"token": token}, headers=BROWSER)  # as a preview does: not used yet
    assert told == []
    if first == "script":
        assert client.get("/", params={"token": token}).status_code == 303
    else:
        used = client.post(ENTER, json={"token": token}, headers=site.headers())
        assert used.status_code == 200
    assert told == ["used"]
    for again in (
        client.get("/", params={"token": token}),
        client.get("/", params={"token": token}, headers=BROWSER),
        client.post(ENTER, json={"token": token}, headers=site.headers()),
    ):
        assert (again.status_code, again.text) == (401, HELP)
        assert "set-cookie" not in again.headers
    assert told == ["used"]


def test_a_token_opens_though_nobody_can_be_told(site: Site) -> None:
    def lost() -> None:
        raise BrokenPipeError

    assert site.keys.spend(site.keys.issue(lost))


def test_secrets_are_long_and_of_one_start(site: Site) -> None:
    again = Keys(PORT)
    secrets = {site.keys.key, again.key, site.keys.issue(), site.keys.issue(), again.issue()}
    assert len(secrets) == 5
    assert all(len(secret) >= 43 for secret in secrets)  # 256 bits in base64
    assert not again.good(site.keys.issue())


@pytest.mark.parametrize("token", ["", "wrong", "é", "a" * 5000])
def test_a_wrong_token_opens_nothing(site: Site, token: str) -> None:
    client = site.client(key=False)
    for headers in ({}, BROWSER):
        answer = client.get("/", params={"token": token}, headers=headers)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
    assert client.post(ENTER, json={"token": token}, headers=site.headers()).status_code == 401


def test_without_the_key_there_are_the_pages_own_files_and_nothing_else(site: Site) -> None:
    client = site.client(key=False)
    closed = [path for path in site.routes("GET") if path.startswith("/api/")]
    files = set(site.routes("GET")) - set(closed)
    assert len(closed) >= 6 and len(files) > 10 and len(site.routes("POST")) > 9
    for path in [*closed, "/nowhere", "/api/nowhere"]:
        answer = client.get(path)
        assert (answer.status_code, answer.text) == (401, HELP), path
    for path in set(site.routes("POST")) - {ENTER}:
        answer = client.post(path, json={}, headers=site.headers())
        assert answer.status_code == 401, path
    secrets = [site.keys.key, site.keys.issue(), str(site.session.data.path)]
    for path in files:
        answer = client.get(path)
        assert answer.status_code == 200
        assert not any(secret in answer.text for secret in secrets)
    for value in ("", "wrong", site.keys.issue(), site.keys.key[:-1]):
        cookie = f"{site.keys.cookie_name}={value}"
        for headers in ({"cookie": cookie}, {KEY_HEADER: value}):
            assert client.get("/api/state", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "other",
    [
        b'prefs={"theme":"dark"}',
        b"filters[year]=1",
        b'a="b; c',
        b"odd name=1",
        b"=x",
        b";;",
        b"\xc3\xa9=\xff",
        b"whet_label_8765=of an earlier start",
    ],
)
def test_a_scripts_cookie_is_found_among_any_others(site: Site, other: bytes) -> None:
    ours, client = site.cookie().encode(), site.client(key=False)
    for cookie in (other + b"; " + ours, ours + b"; " + other, other + b";" + ours + b";"):
        assert client.get("/api/counts", headers={b"cookie": cookie}).status_code == 200
    apart = [(b"cookie", ours), (b"cookie", other)]
    assert client.get("/api/counts", headers=apart).status_code == 200
    assert client.get("/api/counts", headers={b"cookie": other}).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil", ""]
)
def test_names_that_only_point_here_are_refused(site: Site, host: str) -> None:
    for path in site.routes("GET"):
        assert site.client().get(path, headers={"host": host}).status_code == 400, path


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST"])
def test_our_own_names_are_answered(site: Site, host: str) -> None:
    assert site.client().get("/api/counts", headers={"host": host}).status_code == 200


WITHOUT = {
    "no origin": {"origin": None},
    "another site": {"origin": "http://evil.example"},
    "another port": {"origin": "http://127.0.0.1:9999"},
    "https": {"origin": f"https://{HOST}"},
    "null": {"origin": "null"},
    "a form": {"content-type": "application/x-www-form-urlencoded"},
    "plain text": {"content-type": "text/plain"},
}


@pytest.mark.parametrize("case", WITHOUT)
def test_no_other_page_can_change_anything(site: Site, case: str) -> None:
    headers = {name: value for name, value in (site.headers() | WITHOUT[case]).items() if value}
    before = site.session.counts()["events"]
    for path in site.routes("POST"):
        content = b'{"events": []}'
        for key in ({}, {"cookie": site.cookie()}):
            answer = site.client(key=not key).post(path, content=content, headers=headers | key)
            assert answer.status_code == 403, path
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        assert site.client().request(method, "/api/events", headers=headers).status_code == 403
    assert site.session.counts()["events"] == before


def test_our_page_can_change(site: Site) -> None:
    said = {"events": [event("relevant", doc_id="d1")]}
    answer = site.client().post("/api/events", json=said, headers=site.headers())
    assert (answer.status_code, answer.json()) == (200, {"new": 1})
    again = site.client().post("/api/events", json=said, headers=site.headers())
    assert again.json() == {"new": 0}


def test_every_answer_forbids_what_it_can(site: Site) -> None:
    known, stranger = site.client(), site.client(key=False)
    answers = [known.get(path) for path in site.routes("GET")]
    answers += [known.get("/nowhere"), stranger.get("/api/counts"), known.post("/api/events")]
    answers.append(known.get("/", headers={"host": "evil.example"}))
    answers.append(stranger.get("/", params={"token": site.keys.issue()}))
    assert {answer.status_code for answer in answers} == {200, 404, 401, 403, 400, 303}
    for answer in answers:
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


def test_there_are_no_pages_about_the_routes(site: Site) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"):
        assert site.client().get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/../label.py",
        "/..%2flabel.py",
        "/%2e%2e/app.py",
        "/page/../app.py",
        "//etc/passwd",
        "/main.js/../../session.py",
        "/etc/passwd",
        "/index.html%00.js",
    ],
)
def test_no_path_leads_to_another_file(site: Site, path: str) -> None:
    answer = site.client().request("GET", f"{ORIGIN}{path}")
    assert answer.status_code == 404


def test_a_body_that_is_too_large_is_refused(site: Site) -> None:
    content = b'{"events": [' + b" " * LARGEST_BODY + b"]}"
    client = site.client()
    answer = client.post("/api/events", content=content, headers=site.headers())
    assert answer.status_code == 413
    pieces = (content[at : at + 60_000] for at in range(0, len(content), 60_000))
    answer = client.post("/api/events", content=pieces, headers=site.headers())
    assert answer.status_code == 413  # chunked: nothing said how long it would be
    lying = site.headers() | {"content-length": "-5"}
    assert client.post("/api/events", content=b"{}", headers=lying).status_code == 413
    right = b'{"events": [' + b" " * (LARGEST_BODY - 100) + b"]}"
    answer = client.post("/api/events", content=right, headers=site.headers())
    assert answer.status_code == 200


def test_an_endless_body_is_cut_off_by_a_real_server(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with served(tiny_data, tiny_model, tmp_path / "feedback") as page:
        lines = [
            "POST /api/events HTTP/1.1",
            f"Host: 127.0.0.1:{page.port}",
            f"Origin: {page.address}",
            f"X-Whet-Key: {page.keys.key}",
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
        ]
        with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            sent, chunk = 0, b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            answer = b""
            with suppress(OSError):  # it hangs up
                while sent < 8 * LARGEST_BODY:
                    connection.sendall(chunk)
                    sent += 0x10000
            with suppress(OSError):
                answer = connection.recv(1000)
        assert sent < 8 * LARGEST_BODY or answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"events": 3}',
        b'{"events": [null]}',
        b'{"events": [{"id": "\\ud800"}]}',
        b'{"events": [' + b"[" * 90_000,
        b'{"events": ["' + b"\xff\xfe" + b'"]}',
        b'{"events": [{"id": "' + b"a" * 32 + b'", "query": "\\ud800", "action": "skip"}]}',
        b'{"events": [{"id": "'
        + b"a" * 32
        + b'", "query": "x", "action": "skip", "time": 1e999}]}',
    ],
)
def test_nonsense_is_refused_in_words(site: Site, content: bytes) -> None:
    before = site.session.counts()["events"]
    answer = site.client().post("/api/events", content=content, headers=site.headers())
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert site.session.counts()["events"] == before


HUGE = 10**400


@pytest.mark.parametrize(
    "wrong",
    [
        *({"place": value} for value in ("x", [], {}, 1.5, -1, True, 2**63, HUGE, 200)),
        *({"time": value} for value in ("x", [], {}, True, HUGE, -HUGE, "")),
        *({"shown": [["d1", value]]} for value in ("x", [], {}, True, HUGE)),
        *({"shown": value} for value in ("x", {}, 1, [1], [["d1"]], [[1, 2.0]], [["\ud800", 1]])),
        *({name: 5} for name in ("id", "query", "query_id", "doc_id", "target", "model", "who")),
        *({name: ["d1"]} for name in ("id", "query", "query_id", "doc_id", "target", "who")),
        {"action": ["relevant"]},
        {"action": "undo", "target": HUGE},
        {"colour": "red"},
    ],
    ids=lambda wrong: f"{wrong!s:.40}",
)
def test_a_field_of_a_wrong_type_is_named(site: Site, wrong: dict[str, object]) -> None:
    before = site.session.counts()["events"]
    sent = json.dumps({"events": [event("relevant", doc_id="d1") | wrong]})
    answer = site.client().post("/api/events", content=sent, headers=site.headers())
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert next(reversed(wrong)) in error and "damaged" not in error
    assert site.session.counts()["events"] == before


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1" + "0" * 5000, "-1", "10000", "1e400"])
def test_a_version_that_cannot_be_is_refused(site: Site, number: str) -> None:
    for name in ("look", "ship", "use", "discard"):
        content, headers = f'{{"version": {number}}}', site.headers()
        answer = site.client().post(f"/api/versions/{name}", content=content, headers=headers)
        assert answer.status_code == 400 and answer.json()["error"]


@pytest.fixture
def own_site(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> Iterator[Site]:
    session, tuner = open_folder(tiny_data, tiny_model, tmp_path / "feedback")
    yield Site(session, tuner, tmp_path / "feedback")
    session.close()


def test_a_locked_store_delays_no_search(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client, headers = own_site.client(), own_site.headers()
    path = own_site.session._store.path
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    own_site.session._store._db.execute("PRAGMA busy_timeout=300")
    said = {"events": [event("relevant", doc_id="d1")]}
    start = time.monotonic()
    for route in ("/api/counts", "/api/state", "/api/events.jsonl"):
        assert client.get(route).status_code == 200
    assert client.post("/api/search", json={"query": "ba"}, headers=headers).status_code == 200
    assert time.monotonic() - start < 2
    answer = client.post("/api/events", json=said, headers=headers)
    assert answer.status_code == 503 and "locked" in answer.json()["error"]
    other.execute("ROLLBACK")
    assert client.post("/api/events", json=said, headers=headers).json() == {"new": 1}


@pytest.mark.parametrize("fault", ["deleted", "overwritten", "closed"])
def test_a_store_that_fails_is_no_fault_of_the_page(own_site: Site, fault: str) -> None:
    """So the page keeps its events: a 400 would make it give them up."""
    store = own_site.session._store
    if fault == "deleted":
        store.path.unlink()
    elif fault == "overwritten":
        store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.path.write_bytes(b"x" * store.path.stat().st_size)
        store._db.execute("PRAGMA shrink_memory")  # what it remembers hides the damage
    else:
        store.close()
    said = {"events": [event("relevant", doc_id="d1")]}
    answer = own_site.client().post("/api/events", json=said, headers=own_site.headers())
    assert answer.status_code == 503
    assert str(store.path) in answer.json()["error"]


@pytest.mark.parametrize("path", ["/api/search", "/api/find", "/api/why", "/api/document"])
@pytest.mark.parametrize("value", ["\\ud800", "\\u0000", "", "a" * 3000, 5, None])
def test_odd_texts_break_no_search(site: Site, path: str, value: object) -> None:
    quoted = f'"{value}"' if isinstance(value, str) else ("5" if value else "null")
    body = f'{{"query": {quoted}, "text": {quoted}, "doc_id": {quoted}, "doc_ids": [{quoted}]}}'
    answer = site.client().post(path, content=body, headers=site.headers())
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "0x0", "0.0", "00.0.0.0", "::", "::0"])
def test_every_spelling_of_all_interfaces_is_warned_of(host: str) -> None:
    with listen(host, 0) as listening:
        assert "everyone on this network" in warning_of(host, listening, "the page", "all can")
        names = hosts_of(host, listening)
        assert {"localhost", "127.0.0.1", "[::1]", socket.gethostname().lower()} <= set(names)
        assert "*" not in "".join(names) and "" not in names
        assert shown_host(host, listening) in [*names, socket.gethostname()]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1"])
def test_this_machine_alone_is_not_warned_of(host: str) -> None:
    with listen(host, 0) as listening:
        assert warning_of(host, listening, "the page", "all can") == ""
        assert shown_host(host, listening).strip("[]") == host
        assert shown_host(host, listening) in hosts_of(host, listening)


@pytest.mark.parametrize("host", ["", "  "])
def test_an_empty_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="host is empty"):
        listen(host, 0)


def test_answers_are_sent_at_once() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # what asyncio sets TCP_NODELAY by


def test_a_taken_port_is_told_in_a_line() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port={port} is taken"):
            listen("127.0.0.1", port)
        assert first.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ConfigError, match=r"host=192\.0\.2\.1 port=0 cannot be listened on"):
        listen("192.0.2.1", 0)
