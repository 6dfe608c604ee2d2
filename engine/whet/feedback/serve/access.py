"""Who may talk to the search page's server: the person who started it, and no page but ours.

Other accounts of the machine, pages of other sites that are open in the same browser, programs on
other ports, and names that point at 127.0.0.1 (DNS rebinding) are those kept out. Plain ASGI.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from urllib.parse import parse_qs

from whet.web.asgi import App, Message, Receive, Send, answer, body_of, headers_of, replay, same

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
        return any([same(token, own) for own in self._tokens])

    def spend(self, token: str) -> bool:
        """Use a token; False if it was used before, or never issued."""
        if not self.good(token):
            return False
        with suppress(OSError):  # whoever holds it comes in, though the terminal be gone
            self._tokens.pop(token)()
        return True


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
        headers = headers_of(scope)
        token = _token(scope)
        if token is not None and not _is_browser(headers):
            await self._let_script_in(token, send)
        elif not self._is_let_in(scope, headers, token):
            await answer(send, 401, HELP)
        elif scope["method"] not in READS and (why := self._foreign(headers)):
            await answer(send, 403, why)
        else:
            await self._pass_on(headers, scope, receive, send)

    async def _pass_on(
        self, headers: dict[str, bytes], scope: Message, receive: Receive, send: Send
    ) -> None:
        try:
            body = await body_of(headers, receive, LARGEST_BODY)
        except ConnectionError:
            return  # nobody is there to be answered
        if body is None:
            await answer(send, 413, f"A request may hold {LARGEST_BODY:,} bytes.\n")
        else:
            await self._app(scope, replay(body, receive), send)

    async def _let_script_in(self, token: str, send: Send) -> None:
        """A cookie for what is no browser, whose cookies other ports would see."""
        if not self._keys.spend(token):
            await answer(send, 401, HELP)
            return
        cookie = f"{self._keys.cookie_name}={self._keys.key}; HttpOnly; SameSite=Strict; Path=/"
        await answer(send, 303, "", {"location": "/", "set-cookie": cookie})

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
        return any([same(value.decode("latin-1"), self._keys.key) for value in held])

    def _foreign(self, headers: dict[str, bytes]) -> str:
        """Why a change does not come from our page; "" if it does."""
        if headers.get("origin") != b"http://" + headers.get("host", b""):
            return "This request comes from another page. Only Whet's own page may ask for it.\n"
        kind = headers.get("content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            return "A change is sent as application/json.\n"
        return ""


def _is_browser(headers: dict[str, bytes]) -> bool:
    """Whether somebody opens the address to look at it."""
    return b"text/html" in headers.get("accept", b"").lower()


def _token(scope: Message) -> str | None:
    if scope["method"] != "GET" or scope["path"] != "/":
        return None
    sent: bytes = scope["query_string"]
    query = parse_qs(sent.decode("latin-1"), keep_blank_values=True)
    return query["token"][0] if "token" in query else None
