"""Nothing is contacted because a bundle says so."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from harness import Statement, bundle, config_of, done, expect, forge, place, whet

contacts: list[tuple[str, str, str | None]] = []
asks = False  # for a token


class Head(BaseHTTPRequestHandler):
    """Answers as the head of a Ray cluster does."""

    def do_GET(self) -> None:
        """Note the request, and whether it brings a token."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        token = self.headers.get("authorization")
        contacts.append((self.command, self.path, token))
        known = self.command != "GET" or "/packages/" not in self.path
        self.send_response((200 if known else 404) if token or not asks else 401)
        version = b'{"version":"4","ray_version":"2.60.0","ray_commit":"x","session_name":"x"}'
        content = version if "version" in self.path else b"[]"
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Head)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_address[1]}"


def send(statement: Statement) -> None:
    """Have the repeat sent to the server above."""
    job = {"mode": "job", "address": address, "insecure": True, "name": "x"}
    config_of(statement)["launch"] |= job


with place() as here:
    for asks in (False, True):
        contacts.clear()
        folder = bundle(here / f"bundle{asks}")
        forge(folder, send, follow=False)
        work = here / f"work{asks}"
        work.mkdir()
        (work / "private_notes.txt").write_text("private")
        secret = {"RAY_AUTH_TOKEN": "canary-token-" + "0" * 32}
        whet("reproduce", str(folder), f"output={here}/again{asks}", cwd=work, env=secret)
        expect(not contacts, f"the bundle's address is not contacted ({contacts[:3]})")
        expect(not any(token for _, _, token in contacts), "no token is sent to it")
done()
