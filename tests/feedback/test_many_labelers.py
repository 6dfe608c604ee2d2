"""Eight people judge at once, the server is killed under them and started again: nothing that was
acknowledged is lost, and nothing is there twice.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from labelling import event

from whet.feedback.events.store import EventStore

WRITERS = 8
EVENTS = 10_000
BATCH = 10
PATIENCE_S = 200


class Server:
    """The page's server as a process of its own, on one port for all its lives."""

    def __init__(self, data: Path, model: Path, home: Path) -> None:
        self._words = [str(data), str(model), str(home)]
        self.port = 0
        self.key = ""
        self.start()

    def start(self) -> None:
        helper = Path(__file__).parent / "labelling.py"
        self._process = subprocess.Popen(
            [sys.executable, str(helper), *self._words, str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self._process.stdout is not None
        port, key = self._process.stdout.readline().split()
        self.port, self.key = int(port), key

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class Writer(threading.Thread):
    """A person's page: it sends a batch until the server says that it is stored."""

    def __init__(self, number: int, server: Server, doc_ids: list[str]) -> None:
        super().__init__(daemon=True)
        self._server = server
        rng = random.Random(number)
        self._events = [
            event(
                rng.choice(("relevant", "irrelevant")),
                f"query {rng.randrange(500)}",
                doc_id=rng.choice(doc_ids),
                who=f"writer {number}",
            )
            for _ in range(EVENTS // WRITERS)
        ]
        self.acknowledged: list[dict[str, Any]] = []
        self.failed = 0

    def run(self) -> None:
        end = time.monotonic() + PATIENCE_S
        for start in range(0, len(self._events), BATCH):
            batch = self._events[start : start + BATCH]
            while not self._sent(batch) and time.monotonic() < end:
                self.failed += 1
                time.sleep(0.05)

    def _sent(self, batch: list[dict[str, Any]]) -> bool:
        try:
            if self._ask("POST", "/api/events", {"events": batch}) != 200:
                return False  # another start of the server, whose key is not known here yet
        except (OSError, http.client.HTTPException):
            return False
        self.acknowledged += batch
        return True

    def _ask(self, method: str, path: str, said: Any) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        own = {"origin": f"http://127.0.0.1:{self._server.port}"}
        own |= {"content-type": "application/json", "x-whet-key": self._server.key}
        try:
            connection.request(method, path, json.dumps(said), own)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


def digest(rows: list[tuple[str, ...]]) -> str:
    return hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_server_dies(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    home = tmp_path / "feedback"
    server = Server(tiny_data, tiny_model, home)
    writers = [Writer(number, server, [f"d{row}" for row in range(120)]) for number in range(8)]
    try:
        for writer in writers:
            writer.start()
        while sum(len(writer.acknowledged) for writer in writers) < EVENTS * 0.4:
            time.sleep(0.01)
        server.kill()
        server.start()
        for writer in writers:
            writer.join(PATIENCE_S)
    finally:
        server.kill()
    said = [one for writer in writers for one in writer.acknowledged]
    assert len(said) == EVENTS
    assert sum(writer.failed for writer in writers) > 0  # the kill was felt
    store = EventStore(home / "events.sqlite")
    kept = [event for _, event in store.events()]
    store.close()
    assert len(kept) == len({one.id for one in kept}) == EVENTS
    names = ("id", "query", "action", "doc_id", "who")
    ours = digest([tuple(one[name] for name in names) for one in said])
    assert digest([tuple(getattr(one, name) for name in names) for one in kept]) == ours
