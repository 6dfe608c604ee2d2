"""Connections that send nothing, or half a request, and too many of them."""

from __future__ import annotations

import asyncio
import http.client
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from whet.web import connections
from whet.web.connections import Server, server_of
from whet.web.listening import listen

HALVES = [
    b"",
    b"GET / HT",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body; a path that is a number is waited for."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    await asyncio.sleep(float(scope["path"].strip("/") or 0))
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def answering() -> Iterator[tuple[Server, int]]:
    """A server of `app`, and its port."""
    listening = listen("127.0.0.1", 0)
    port, server = listening.getsockname()[1], server_of(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield server, port
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def opened(port: int, content: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.sendall(content)
    return connection


def is_open(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def ask(line: http.client.HTTPConnection, path: str = "/") -> int:
    line.request("GET", path)
    answer = line.getresponse()
    assert answer.read() == b"ok"
    return answer.status


def until_closed(held: list[socket.socket], seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(is_open(one) for one in held):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_half_requests_are_closed_and_whole_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WHOLE_S", 0.5)
    with answering() as (_, port):
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        assert ask(kept) == 200
        held = [opened(port, half) for half in HALVES]
        assert all(is_open(one) for one in held)
        assert ask(kept, "/1.5") == 200  # the work may take longer than the request
        assert not any(is_open(one) for one in held)
        assert ask(kept) == 200  # it lay idle between its requests, which is allowed
        kept.close()


def test_bytes_that_trickle_buy_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WHOLE_S", 0.5)
    with answering() as (_, port):
        slow, start = opened(port, b"GET / HTTP/1.1\r\nHost: x\r\nX: "), time.monotonic()
        with pytest.raises(ConnectionError):  # noqa: PT012 (some byte of many is refused)
            while time.monotonic() < start + 5:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - start < 3


def test_the_limit_of_a_served_connection_begins_with_its_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "WHOLE_S", 0.5)
    with answering() as (_, port):
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        assert ask(kept) == 200
        time.sleep(0.8)
        assert kept.sock is not None
        assert is_open(kept.sock)
        kept.sock.sendall(b"GET / HTTP/1.1\r\n")
        until_closed([kept.sock], 3)


def test_of_too_many_the_idle_ones_go_and_the_owner_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 10)
    with answering() as (server, port):
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        assert ask(kept) == 200
        held = [opened(port, HALVES[number % len(HALVES)]) for number in range(60)]
        time.sleep(0.3)
        assert len(server.server_state.connections) <= 10
        assert kept.sock is not None and is_open(kept.sock)
        assert ask(kept) == 200
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        assert ask(other) == 200
        for one in [*held, kept, other]:
            one.close()


def test_who_is_answered_is_not_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 3)
    with answering() as (_, port):
        busy = [opened(port, b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(3)]
        time.sleep(0.2)
        late = opened(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        until_closed([late], 3)
        for one in busy:
            one.settimeout(5)
            assert one.recv(100).startswith(b"HTTP/1.1 200")


def test_an_end_waits_for_no_half_request() -> None:
    with answering() as (server, port):
        held = [opened(port, half) for half in HALVES]
        time.sleep(0.3)
        start = time.monotonic()
        server.should_exit = True
        until_closed(held, 2)
    assert time.monotonic() - start < connections.GRACE_S


def test_too_many_files_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    async def flood() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(connections._tell_once())
        for _ in range(500):
            loop.call_exception_handler(
                {"message": "socket.accept() out of system resource", "exception": OSError(24)}
            )

    asyncio.run(flood())
    assert capsys.readouterr().err.count("\n") == 1


def test_the_soft_limit_of_files_is_raised() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
    try:
        assert connections._raise_open_files() >= min(1024, before[1])
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(1024, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
