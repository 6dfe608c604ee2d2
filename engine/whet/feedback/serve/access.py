"""Who may talk to the search page's server: the person who started it, and no page but ours.

Other accounts of the machine, pages of other sites that are open in the same browser, programs on
other ports, and names that point at 127.0.0.1 (DNS rebinding) are those kept out. Plain ASGI.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LARGEST_BODY = 1 << 20  # bytes
LONGEST_LENGTH = 20  # digits of an announced length; Python reads no number of thousands of them
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
ENTER = "/api/enter"  # where the page takes a token to, and is given the key
KEY_HEADER = "x-whet-key"
HELP = (
    "Whet does not know this tab. Open the address that `whet label` printed last: each opens the "
    "page once, and then another is printed. A tab that works can also be duplicated.\n"
)


class Keys:
    """The secrets of one server. A token is in an address and opens the page once; the key is what
    a tab of a browser then sends in a header, and a script in a cookie.
    """

    def __init__(self, port: int) -> None:
        self.key = secrets.token_urlsafe(TOKEN_BYTES)
        self.cookie_name = f"whet_label_{port}"  # a script may know several servers of a host
        self._tokens: dict[str, Callable[[], None]] = {}

    def issue(self, spent: Callable[[], None] = lambda: None) -> str:
        """A new token; `spent` is called once it was used."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._tokens[token] = spent
        return token

    def good(self, token: str) -> bool:
        """Whether a token was issued and not used."""
        return any([_same(token, own) for own in self._tokens])

    def spend(self, token: str) -> bool:
        """Use a token; False if it was used before, or never issued."""
        if not self.good(token):
            return False
        with suppress(OSError):  # whoever holds it comes in, though the terminal be gone
            self._tokens.pop(token)()
        return True


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
    """Lets through who has the key; a change also needs our origin and JSON.

    Without a key there are the page's own files (`files`, paths), which hold no secret, and ENTER.
    """

    def __init__(self, app: App, keys: Keys, files: Collection[str]) -> None:
        self._app, self._keys, self._files = app, keys, files

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, refuse, or pass on."""
        if scope["type"] != "http":
            return  # there are no sockets here, and nothing to start or stop
        headers = _headers(scope)
        token = _token(scope)
        if token is not None and not _is_browser(headers):
            await self._let_script_in(token, send)
        elif not self._is_let_in(scope, headers, token):
            await _answer(send, 401, HELP)
        elif scope["method"] not in READS and (why := self._foreign(headers)):
            await _answer(send, 403, why)
        else:
            await self._pass_on(headers, scope, receive, send)

    async def _pass_on(
        self, headers: dict[str, bytes], scope: Message, receive: Receive, send: Send
    ) -> None:
        try:
            body = await _body(headers, receive)
        except ConnectionError:
            return  # nobody is there to be answered
        if body is None:
            await _answer(send, 413, f"A request may hold {LARGEST_BODY:,} bytes.\n")
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _let_script_in(self, token: str, send: Send) -> None:
        """A cookie for what is no browser, whose cookies other ports would see."""
        if not self._keys.spend(token):
            await _answer(send, 401, HELP)
            return
        cookie = f"{self._keys.cookie_name}={self._keys.key}; HttpOnly; SameSite=Strict; Path=/"
        await _answer(send, 303, "", location="/", set_cookie=cookie)

    def _is_let_in(self, scope: Message, headers: dict[str, bytes], token: str | None) -> bool:
        if token is not None:  # a browser's: the page it gets will exchange it
            return self._keys.good(token)
        return self._is_open(scope) or self._is_known(headers)

    def _is_open(self, scope: Message) -> bool:
        if scope["method"] in READS:
            return scope["path"] in self._files
        return (scope["method"], scope["path"]) == ("POST", ENTER)

    def _is_known(self, headers: dict[str, bytes]) -> bool:
        """Whether the key is in its header, or in a cookie, whatever other cookies hold."""
        pairs = (pair.partition(b"=") for pair in headers.get("cookie", b"").split(b";"))
        name = self._keys.cookie_name.encode()
        held = [value.strip() for key, _, value in pairs if key.strip() == name]
        held.append(headers.get(KEY_HEADER, b""))
        return any([_same(value.decode("latin-1"), self._keys.key) for value in held])

    def _foreign(self, headers: dict[str, bytes]) -> str:
        """Why a change does not come from our page; "" if it does."""
        if headers.get("origin") != b"http://" + headers.get("host", b""):
            return "This request comes from another page. Only Whet's own page may ask for it.\n"
        kind = headers.get("content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            return "A change is sent as application/json.\n"
        return ""


def _headers(scope: Message) -> dict[str, bytes]:
    """Headers by name in lower case; cookies may come in several."""
    headers: dict[str, bytes] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        first = headers.get(name)
        headers[name] = first + b"; " + value if name == "cookie" and first else value
    return headers


def _is_browser(headers: dict[str, bytes]) -> bool:
    """Whether somebody opens the address to look at it."""
    return b"text/html" in headers.get("accept", b"").lower()


def _token(scope: Message) -> str | None:
    if scope["method"] != "GET" or scope["path"] != "/":
        return None
    sent: bytes = scope["query_string"]
    query = parse_qs(sent.decode("latin-1"), keep_blank_values=True)
    return query["token"][0] if "token" in query else None


def _same(given: str, right: str) -> bool:
    """Whether they are equal, found in a time that tells nothing."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), right.encode())


async def _body(headers: dict[str, bytes], receive: Receive) -> bytes | None:
    """The whole body; None if it is too large, whether its length was announced or not.
    ConnectionError where the sender left before its end.
    """
    announced = headers.get("content-length", b"0")
    if not announced.isdigit() or len(announced) > LONGEST_LENGTH or int(announced) > LARGEST_BODY:
        return None
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
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
    fields = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(text.encode())),
    }
    if location:
        fields |= {"location": location, "set-cookie": set_cookie}
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
