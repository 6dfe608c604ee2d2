"""The page's server without a socket: the guarded app, its keys, and a client."""

from __future__ import annotations

from pathlib import Path

from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from whet.feedback.learn.job import Tuner
from whet.feedback.serve.access import KEY_HEADER, Keys
from whet.feedback.serve.app import guarded_app, make_app
from whet.feedback.serve.session import Session

PORT = 8765
HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"


NAMES = ["localhost", "127.0.0.1", "[::1]"]


class Site:
    """The guarded app, its keys, and a client with what a real page has."""

    def __init__(self, session: Session, tuner: Tuner, home: Path) -> None:
        self.session, self.keys = session, Keys(PORT)
        self.app = make_app(session, tuner, self.keys, home=home)
        self.outside = guarded_app(self.app, self.keys, NAMES)

    def client(self, *, key: bool = True) -> TestClient:
        client = TestClient(self.outside, base_url=ORIGIN, follow_redirects=False)
        if key:
            client.headers[KEY_HEADER] = self.keys.key
        return client

    def headers(self) -> dict[str, str]:
        return {"origin": ORIGIN, "content-type": "application/json"}

    def cookie(self) -> str:
        return f"{self.keys.cookie_name}={self.keys.key}"

    def routes(self, method: str) -> list[str]:
        """Every path of a method that the router knows."""
        found = []
        for route in self.app.routes:
            assert isinstance(route, APIRoute), f"{route} is of a kind nobody checked"
            assert route.methods in ({"GET"}, {"POST"}), route.path
            found += [route.path] if method in route.methods else []
        return found
