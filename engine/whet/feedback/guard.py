"""Who may talk to the search page's server: the person who started it, and no page but ours.

Other accounts of the machine, pages of other sites that are open in the same browser, and names
that point at 127.0.0.1 (DNS rebinding) are those kept out. Plain ASGI.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LARGEST_BODY = 1 << 20  # bytes
TOKEN_BYTES = 32
READS = ("GET", "HEAD")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
HELP = (
    "Whet does not know this browser. Open the address that `whet label` printed when it started; "
    "it holds the key.\n"
)


class Keys:
    """The secrets of one server: `token` opens it, `cookie` is what the browser then holds, `form`
    is what our own page sends along with each change.
    """

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self.cookie = secrets.token_urlsafe(TOKEN_BYTES)
        self.form = secrets.token_urlsafe(TOKEN_BYTES)
        self.cookie_name = f"whet_label_{port}"  # browsers share cookies between ports


class WithHeaders:
    """Sets what browsers are to forbid on every answer, also on refusals."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, with the headers."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                fixed = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                own = {name.encode() for name in HEADERS}
                rest = [pair for pair in message.get("headers", []) if pair[0].lower() not in own]
                message = {**message, "headers": [*rest, *fixed]}
            await send(message)

        await self._app(scope, receive, with_headers)


class Guard:
    """Lets through who has the cookie; a change also needs our origin, JSON and the form's key."""

    def __init__(self, app: App, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, refuse, or pass on."""
        if scope["type"] != "http":
            return  # there are no sockets here, and nothing to start or stop
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        token = _token(scope)
        if token is not None:
            await self._enter(token, send)
        elif not self._known(headers):
            await _answer(send, 401, HELP)
        elif scope["method"] not in READS and (why := self._foreign(headers)):
            await _answer(send, 403, why)
        else:
            body = await _body(headers, receive)
            if body is None:
                await _answer(send, 413, f"A request may hold {LARGEST_BODY:,} bytes.\n")
            else:
                await self._app(scope, _replay(body, receive), send)

    async def _enter(self, token: str, send: Send) -> None:
        if not _same(token, self._keys.token):
            await _answer(send, 401, HELP)
            return
        cookie = f"{self._keys.cookie_name}={self._keys.cookie}"
        cookie += "; HttpOnly; SameSite=Strict; Path=/"
        await _answer(send, 303, "", location="/", set_cookie=cookie)

    def _known(self, headers: dict[str, bytes]) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", b"").decode("latin-1"))
        except CookieError:
            return False
        held = cookies.get(self._keys.cookie_name)
        return held is not None and _same(held.value, self._keys.cookie)

    def _foreign(self, headers: dict[str, bytes]) -> str:
        """Why a change does not come from our page; "" if it does."""
        if headers.get("origin") != b"http://" + headers.get("host", b""):
            return "This request comes from another page. Only Whet's own page may ask for it.\n"
        kind = headers.get("content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            return "A change is sent as application/json.\n"
        if not _same(headers.get("x-whet-form", b"").decode("latin-1"), self._keys.form):
            return "The key of the form is missing or of an earlier start. Load the page again.\n"
        return ""


def _token(scope: Message) -> str | None:
    if scope["method"] != "GET" or scope["path"] != "/":
        return None
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0]


def _same(given: str, right: str) -> bool:
    """Whether they are equal, found in a time that tells nothing."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), right.encode())


async def _body(headers: dict[str, bytes], receive: Receive) -> bytes | None:
    """The whole body; None if it is too large, whether its length was announced or not."""
    announced = headers.get("content-length", b"0")
    if not announced.isdigit() or int(announced) > LARGEST_BODY:
        return None
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LARGEST_BODY:
            return None
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already, then what comes after."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give


async def _answer(
    send: Send, status: int, text: str, *, location: str = "", set_cookie: str = ""
) -> None:
    said = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(text.encode()))}
    if location:
        said |= {"location": location, "set-cookie": set_cookie}
    headers = [(name.encode(), value.encode()) for name, value in said.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
