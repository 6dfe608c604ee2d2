"""Who is kept out of the search page, and what its answers forbid a browser."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from labelling import event, open_folder, served

from whet.errors import ConfigError
from whet.feedback.app import guarded, make_app
from whet.feedback.guard import HELP, LARGEST_BODY, Keys
from whet.feedback.label import hosts_of, listen
from whet.feedback.session import Session
from whet.feedback.tuning import Tuner

PORT = 8765
HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"


class Site:
    """The guarded app, its keys, and a client with what a real page has."""

    def __init__(self, session: Session, tuner: Tuner, home: Path) -> None:
        self.session, self.keys = session, Keys(PORT)
        self.app = make_app(session, tuner, self.keys, home=home)
        self.outside = guarded(self.app, self.keys, hosts_of("127.0.0.1"))

    def client(self, *, cookie: bool = True) -> TestClient:
        client = TestClient(self.outside, base_url=ORIGIN, follow_redirects=False)
        if cookie:
            client.cookies.set(self.keys.cookie_name, self.keys.cookie)
        return client

    def headers(self) -> dict[str, str]:
        own = {"origin": ORIGIN, "content-type": "application/json"}
        return own | {"x-whet-form": self.keys.form}

    def routes(self, method: str) -> list[str]:
        """Every path of a method that the router knows."""
        found = []
        for route in self.app.routes:
            assert isinstance(route, APIRoute), f"{route} is of a kind nobody checked"
            assert route.methods in ({"GET"}, {"POST"}), route.path
            found += [route.path] if method in route.methods else []
        return found


@pytest.fixture(scope="module")
def site(
    tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("home") / "feedback"
    session, tuner = open_folder(tiny_data, tiny_model, home)
    yield Site(session, tuner, home)
    session.close()


def test_the_printed_address_opens_and_sets_a_cookie_scripts_cannot_read(site: Site) -> None:
    client = site.client(cookie=False)
    answer = client.get("/", params={"token": site.keys.token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    assert site.keys.token not in cookie
    assert client.get("/").status_code == 200  # with the cookie it got


def test_secrets_are_long_and_of_one_start(site: Site) -> None:
    again = Keys(PORT)
    ours = [site.keys.token, site.keys.cookie, site.keys.form]
    theirs = [again.token, again.cookie, again.form]
    assert len({*ours, *theirs}) == 6
    assert all(len(secret) >= 43 for secret in ours)  # 256 bits in base64


@pytest.mark.parametrize("token", ["", "wrong", "é", "a" * 5000])
def test_a_wrong_token_opens_nothing(site: Site, token: str) -> None:
    answer = site.client(cookie=False).get("/", params={"token": token})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_without_the_cookie_every_route_is_closed(site: Site) -> None:
    client = site.client(cookie=False)
    assert len(site.routes("GET")) > 10 and len(site.routes("POST")) > 8
    for path in [*site.routes("GET"), "/nowhere"]:
        answer = client.get(path)
        assert (answer.status_code, answer.text) == (401, HELP), path
    for path in site.routes("POST"):
        answer = client.post(path, json={}, headers=site.headers())
        assert answer.status_code == 401, path
    for value in ("", "wrong", site.keys.token):
        client.cookies.clear()
        client.cookies.set(site.keys.cookie_name, value)
        assert client.get("/api/state").status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil", ""]
)
def test_names_that_only_point_here_are_refused(site: Site, host: str) -> None:
    for path in site.routes("GET"):
        assert site.client().get(path, headers={"host": host}).status_code == 400, path


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST"])
def test_our_own_names_are_answered(site: Site, host: str) -> None:
    # the client files its cookie by name, so it is sent by hand
    cookie = f"{site.keys.cookie_name}={site.keys.cookie}"
    client = site.client(cookie=False)
    assert client.get("/", headers={"host": host, "cookie": cookie}).status_code == 200


WITHOUT = {
    "no origin": {"origin": None},
    "another site": {"origin": "http://evil.example"},
    "another port": {"origin": "http://127.0.0.1:9999"},
    "https": {"origin": f"https://{HOST}"},
    "null": {"origin": "null"},
    "a form": {"content-type": "application/x-www-form-urlencoded"},
    "plain text": {"content-type": "text/plain"},
    "no form key": {"x-whet-form": None},
    "a wrong form key": {"x-whet-form": "wrong"},
}


@pytest.mark.parametrize("case", WITHOUT)
def test_no_other_page_can_change_anything(site: Site, case: str) -> None:
    headers = {name: value for name, value in (site.headers() | WITHOUT[case]).items() if value}
    before = site.session.counts()["events"]
    for path in site.routes("POST"):
        content = b'{"events": []}'
        answer = site.client().post(path, content=content, headers=headers)
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
    known, stranger = site.client(), site.client(cookie=False)
    answers = [known.get(path) for path in site.routes("GET")]
    answers += [known.get("/nowhere"), stranger.get("/"), known.post("/api/events")]
    answers.append(known.get("/", headers={"host": "evil.example"}))
    answers.append(stranger.get("/", params={"token": site.keys.token}))
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
            f"Cookie: {page.keys.cookie_name}={page.keys.cookie}",
            f"X-Whet-Form: {page.keys.form}",
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


@pytest.mark.parametrize("path", ["/api/search", "/api/find", "/api/why", "/api/document"])
@pytest.mark.parametrize("value", ["\\ud800", "\\u0000", "", "a" * 3000, 5, None])
def test_odd_texts_break_no_search(site: Site, path: str, value: object) -> None:
    quoted = f'"{value}"' if isinstance(value, str) else ("5" if value else "null")
    body = f'{{"query": {quoted}, "text": {quoted}, "doc_id": {quoted}, "doc_ids": [{quoted}]}}'
    answer = site.client().post(path, content=body, headers=site.headers())
    assert answer.status_code in (200, 400)


def test_all_interfaces_are_named_by_their_addresses() -> None:
    names = hosts_of("0.0.0.0")
    assert {"localhost", "127.0.0.1", "[::1]", socket.gethostname().lower()} <= set(names)
    assert "*" not in "".join(names)
    assert hosts_of("::1")[-1] == "[::1]"


def test_a_taken_port_is_told_in_a_line() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port={port} is taken"):
            listen("127.0.0.1", port)
        assert first.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ConfigError, match=r"host=192\.0\.2\.1 port=0 cannot be listened on"):
        listen("192.0.2.1", 0)
