"""A server's connections: who sends nothing, or half a request, keeps nobody else waiting.

uvicorn closes a kept connection that lies idle, but waits for a request's end for ever, and accepts
connections until the process has no file left for the next.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from whet.progress import say
from whet.web.asgi import App

WHOLE_S = 20.0  # from a request's first byte (or a connection's begin) to its last
IDLE_S = 120  # a connection is kept while a person reads
GRACE_S = 3  # for requests under way when the server is told to stop
MOST = 128  # connections; a browser opens six, a person has few tabs
WAITING = 32  # are accepted at once, before those too many are closed
WANTED_FILES = 1024  # open at once


class Connection(H11Protocol):
    """uvicorn's, with a time by which a request is whole, and room made where there are `most`."""

    def __init__(self, most: int, **server: Any) -> None:
        super().__init__(**server)
        self._most = most
        self._due: asyncio.TimerHandle | None = None
        self._since = 0.0  # when something was last heard of it
        self._served = False  # whether a whole request ever came

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait; the connection that lay idle longest may have to go."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._wait()
        if len(self.connections) > self._most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, or all of it."""
        self._since = self.loop.time()
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._wait()
        else:
            self._served = True
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._wait_no_more()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server ends: half a request is not waited for."""
        if self._due is not None:
            self.transport.abort()
        else:
            super().shutdown()

    def _wait(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(WHOLE_S, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _make_room(self) -> None:
        """Close who was never served first, then who was silent longest; this one if all work."""
        others = [
            each for each in self.connections if isinstance(each, Connection) and each._is_idle()
        ]
        others = [each for each in others if each is not self] or [self]
        leaving = min(others, key=lambda each: (each._served, each._since))
        self.connections.discard(leaving)  # at once: more may come before it is gone
        leaving.transport.abort()

    def _is_idle(self) -> bool:
        return self._due is not None or self.cycle is None or self.cycle.response_complete


class Server(uvicorn.Server):
    """uvicorn's, which says in a line what asyncio says in thousands."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        asyncio.get_running_loop().set_exception_handler(_tell_once())
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let those finish that are answered; who is cut off then is no news."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def _tell_once() -> Any:
    """An event loop's handler of errors, for which too many open files are one line."""
    warned = False

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal warned
        if "out of system resource" not in context["message"]:
            loop.default_exception_handler(context)
        elif not warned:
            warned = True
            say("Too many files are open for another connection (`ulimit -n`). Some must wait.")

    return handle


def server_of(app: App, most: int | None = None) -> Server:
    """What answers requests until SIGINT or SIGTERM: `.run(sockets=[...])`, over at most so many
    connections, MOST by default.
    """
    files = _raise_open_files()
    settings = uvicorn.Config(
        app,
        http=partial(Connection, min(most or MOST, files // 2)),  # type: ignore[arg-type]
        backlog=WAITING,
        log_level="error",  # strangers can cause a warning with each request
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(settings)


def _raise_open_files() -> int:
    """How many files this process may open, raised as far as it is allowed and of use."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return WANTED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return WANTED_FILES if soft == resource.RLIM_INFINITY else soft
