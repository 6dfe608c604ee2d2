"""Who may ask `whet serve`: whoever sends its key. Plain ASGI.

A change of the version needs a second key, which only the account that started the server can read:
who searches need not be able to name folders of its machine.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field

from whet.web.asgi import App, Message, Receive, Send, answer, body_of, headers_of, replay, same

LARGEST_BODY = 16 << 20  # bytes
KEY_BYTES = 32
OPEN = ("/health",)
CHANGES = ("/versions/use", "/versions/back", "/versions/beside", "/versions/alone")
HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def _new_key() -> str:
    return secrets.token_urlsafe(KEY_BYTES)


@dataclass(frozen=True)
class ServerKeys:
    """The secrets of one server: `key` asks, `owner` may change the version as well."""

    key: str = field(default_factory=_new_key, repr=False)
    owner: str = field(default_factory=_new_key, repr=False)


class BearerGuard:
    """Lets through who sends `Authorization: Bearer KEY`, with a body of bounded size."""

    def __init__(self, app: App, keys: ServerKeys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, refuse, or pass on."""
        if scope["type"] != "http":
            return  # there are no sockets here, and nothing to start or stop
        headers = headers_of(scope)
        if scope["path"] not in OPEN and not self._is_known(scope["path"], headers):
            await _refuse(
                send, 401, "Send the key that `whet serve` printed: Authorization: Bearer KEY."
            )
            return
        try:
            body = await body_of(headers, receive, LARGEST_BODY)
        except ConnectionError:
            return  # nobody is there to be answered
        if body is None:
            await _refuse(send, 413, f"A request may hold {LARGEST_BODY:,} bytes.")
        else:
            await self._app(scope, replay(body, receive), send)

    def _is_known(self, path: str, headers: dict[str, bytes]) -> bool:
        kind, _, sent = headers.get("authorization", b"").decode("latin-1").partition(" ")
        good = [self._keys.owner] if path in CHANGES else [self._keys.key, self._keys.owner]
        return kind.lower() == "bearer" and any([same(sent.strip(), own) for own in good])


async def _refuse(send: Send, status: int, why: str) -> None:
    await answer(send, status, json.dumps(problem(why)), {"content-type": "application/json"})


def problem(why: str) -> dict[str, dict[str, str | None]]:
    """What is wrong, as OpenAI's clients read it.

    >>> problem("too long")["error"]["message"]
    'too long'
    """
    return {"error": {"message": why, "type": "invalid_request_error", "param": None, "code": None}}
