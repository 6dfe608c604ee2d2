"""A language model's address for real, on this machine, whose answers a test scripts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the server sends: a status, a body (a dict: as JSON), headers; after some seconds."""

    status: int = 200
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0


@dataclass
class Asked:
    """A request as it came in."""

    path: str
    key: str | None
    body: dict[str, Any]
    at: float

    @property
    def system(self) -> str:
        return str(self.body["messages"][0]["content"])

    @property
    def user(self) -> str:
        return str(self.body["messages"][1]["content"])

    @property
    def document(self) -> str:
        return self.user.partition("<document>\n")[2].partition("\n</document>")[0]

    @property
    def judges(self) -> bool:
        return "<query>" in self.user


def said(text: str | None) -> Reply:
    """A chat completion with this text."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Reply(body={"id": "1", "object": "chat.completion", "choices": [choice]})


def usual(asked: Asked) -> Reply:
    """A query of three words of the document from its end; as judge, yes."""
    return said("yes" if asked.judges else " ".join(asked.document.split()[:-4:-1]))


class ScriptedModel:
    """The server: `script` says what is answered to each request, `asked` are those so far."""

    def __init__(self) -> None:
        self.script: Callable[[Asked], Reply] = usual
        self.asked: list[Asked] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"]))
                key = self.headers["Authorization"]
                asked = Asked(self.path, key, json.loads(text), time.monotonic())
                with model.lock:
                    model.asked.append(asked)
                    reply = model.script(asked)
                time.sleep(reply.after_s)
                as_json = not isinstance(reply.body, str)
                body = (json.dumps(reply.body) if as_json else reply.body).encode()
                self.send_response(reply.status)
                kind = "application/json" if as_json else "text/html"
                for name, value in {"Content-Type": kind, **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *given: object) -> None:
                """Nothing: stderr is looked at."""

        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *given: None  # type: ignore[method-assign] # who hung up
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def documents(self) -> list[str]:
        """Those that a query was asked for, in order."""
        return [asked.document for asked in self.asked if not asked.judges]
