"""Somebody without a key cannot freeze the page: silent connections make room, and are closed."""

from __future__ import annotations

import resource
import socket
import time

from harness import Page, data, done, expect, model, place

FILES = 256  # may be open: what macOS allows at first
HELD = 400
HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX: "


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not hung up."""
    connection.settimeout(0.05)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def connected(net: str) -> list[socket.socket]:
    """Connections of which half send half a request, and half nothing."""
    host, _, port = net.partition(":")
    held: list[socket.socket] = []
    for number in range(HELD):
        try:
            held.append(socket.create_connection((host, int(port)), timeout=2))
            if number % 2:
                held[-1].sendall(HALF)
        except OSError:
            break
    return held


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


with place() as here:
    data(here / "data")
    model(here / "model")
    page = Page(preexec_fn=limited).enter()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2048), hard))
    held = connected(page.net)
    time.sleep(1)
    try:
        answer = str(page.ask("GET", "/api/counts", timeout=10)[0])
    except OSError as error:
        answer = type(error).__name__
    expect(answer == "200", f"the owner is answered beside {len(held)} idle connections ({answer})")
    time.sleep(5)
    told = len(page.said())
    expect(told < 100_000, f"the terminal is not flooded ({told:,} bytes)")
    time.sleep(25)
    still = sum(is_open(connection) for connection in held)
    expect(still == 0, f"idle connections are closed in half a minute ({still} of {HELD} open)")
    page.stop()
done()
