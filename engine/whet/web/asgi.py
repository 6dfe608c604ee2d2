"""What the servers' guards have in common: headers, bodies of a bounded size, plain answers. Plain
ASGI.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LONGEST_LENGTH = 20  # digits of an announced length; Python reads no number of thousands of them


class WithHeaders:
    """Sets some headers on every answer, also on refusals."""

    def __init__(self, app: App, headers: Mapping[str, str]) -> None:
        self._app = app
        self._fixed = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, with the headers."""
        own = {name for name, _ in self._fixed}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                rest = [pair for pair in message.get("headers", []) if pair[0].lower() not in own]
                message = {**message, "headers": [*rest, *self._fixed]}
            await send(message)

        await self._app(scope, receive, with_headers)


def headers_of(scope: Message) -> dict[str, bytes]:
    """The headers of a request by name in lower case; cookies may come in several."""
    headers: dict[str, bytes] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        first = headers.get(name)
        headers[name] = first + b"; " + value if name == "cookie" and first else value
    return headers


def same(given: str, right: str) -> bool:
    """Whether they are equal, found in a time that tells nothing."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), right.encode())


async def body_of(headers: dict[str, bytes], receive: Receive, largest: int) -> bytes | None:
    """The whole body; None if it has more than `largest` bytes, whether its length was announced or
    not. ConnectionError where the sender left before its end.
    """
    announced = headers.get("content-length", b"0")
    if not announced.isdigit() or len(announced) > LONGEST_LENGTH or int(announced) > largest:
        return None
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > largest:
            return None
    return body


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already, then what comes after."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give


async def answer(send: Send, status: int, text: str, more: Mapping[str, str] | None = None) -> None:
    """Answer with a plain text, and perhaps more headers."""
    fields = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(text.encode())),
        **(more or {}),
    }
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
