"""A search page to test: feedback in a folder, the server, and a Chromium that looks at it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from whet.config import DataConfig, LabelConfig, ModelConfig, TuneConfig
from whet.data.load import load_dataset
from whet.feedback.events.store import EVENTS, EventStore
from whet.feedback.learn.job import Tuner, tune_folder
from whet.feedback.serve.access import Keys
from whet.feedback.serve.app import guarded_app, make_app
from whet.feedback.serve.label import feedback_folder, session_and_tuner
from whet.feedback.serve.session import Session
from whet.web.connections import server_of
from whet.web.listening import hosts_of, listen

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 375, "height": 720}
RUN = "import sys; from whet_launch.cli.main import main; sys.exit(main(sys.argv[1:]))"
QUICK = TuneConfig(method="matrix")  # a second on the tiny model


def event(action: str, query: str = "ba ce", **said: Any) -> dict[str, Any]:
    """An event as a page sends it."""
    return {"id": uuid.uuid4().hex, "query": query, "action": action, "who": "me", **said}


def open_folder(data: Path, model: Path, home: Path) -> tuple[Session, Tuner]:
    """The session and the tuner of a folder of feedback, as `whet label` opens them."""
    config = LabelConfig(data=DataConfig(path=str(data)), model=ModelConfig(name=str(model)))
    config.output, config.tune = str(home), QUICK
    loaded = load_dataset(str(data))
    home = feedback_folder(config, loaded)
    return session_and_tuner(loaded, home, EventStore(home / EVENTS), config)


def answers(session: Session, count: int) -> list[dict[str, Any]]:
    """Marks that the training judgments of the data's first queries would be."""
    data = session.data
    good = data.split("train").relevant()
    pairs = zip(good.query_rows_M.tolist(), good.doc_rows_M.tolist(), strict=True)
    return [
        event("relevant", data.queries.text(query), doc_id=data.corpus.id(row))
        | {"query_id": data.queries.id(query)}
        for query, row in pairs
        if query < count
    ]


def judged_folder(
    data: Path, model: Path, home: Path, said: Sequence[dict[str, Any]] | None = None
) -> Path:
    """A folder of feedback with events in it: `said`, or answers to 30 queries."""
    session, _ = open_folder(data, model, home)
    session.add(answers(session, 30) if said is None else said)
    session.close()
    return home


def tuned_folder(
    data: Path, model: Path, home: Path, said: Sequence[dict[str, Any]] | None = None
) -> Path:
    """A folder of feedback with version 1 in it, that nobody has decided on."""
    judged_folder(data, model, home, said)
    tune_folder(home, QUICK, lambda phase, done, total: None)
    return home


class Visitor:
    """A page without a browser: it opens the printed address and asks as the page does."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host = address.netloc
        self._headers = {"origin": f"http://{address.netloc}", "content-type": "application/json"}
        headers, _ = self._ask("GET", f"/?{address.query}", None, 303)
        self._headers["cookie"] = headers["set-cookie"].partition(";")[0]

    def get(self, path: str) -> Any:
        return json.loads(self._ask("GET", path, None, 200)[1])

    def post(self, path: str, **said: Any) -> Any:
        return json.loads(self._ask("POST", path, json.dumps(said), 200)[1])

    def tune(self, seconds: float = 120) -> Any:
        """A tune from start to end; where it stands then."""
        state = self.post("/api/tune/start")
        end = time.monotonic() + seconds
        while state["running"]:
            assert time.monotonic() < end, state
            time.sleep(0.2)
            state = self.get("/api/tune")
        return state

    def _ask(self, method: str, path: str, body: str | None, status: int) -> tuple[Any, bytes]:
        connection = http.client.HTTPConnection(self._host, timeout=60)
        try:
            connection.request(method, path, body, self._headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == status, (path, answer.status, content)
            return answer.headers, content
        finally:
            connection.close()


@dataclass
class Page:
    """A running server of a search page."""

    session: Session
    tuner: Tuner
    keys: Keys
    port: int
    home: Path
    server: Any = field(repr=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """An address as it is printed, good once."""
        return f"{self.address}/?token={self.keys.issue()}"


@contextmanager
def served(data: Path, model: Path, home: Path, port: int = 0) -> Iterator[Page]:
    """A search page that answers on 127.0.0.1 while the block runs."""
    page, listening = made(data, model, home, port)
    server = page.server
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield page
    finally:
        page.tuner.stop()
        server.should_exit = True
        thread.join(10)
        listening.close()
        page.session.close()


def made(data: Path, model: Path, home: Path, port: int) -> tuple[Page, socket.socket]:
    """A page whose server does not run yet, and the socket it is to answer on."""
    listening = listen("127.0.0.1", port)
    session, tuner = open_folder(data, model, home)
    port = listening.getsockname()[1]
    keys = Keys(port)
    app = guarded_app(
        make_app(session, tuner, keys, home=home), keys, hosts_of("127.0.0.1", listening)
    )
    return Page(session, tuner, keys, port, home, server_of(app)), listening


@contextmanager
def labelling_process(*words: str, folder: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """`whet label ...` as a process, in a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "label", *words, "open_browser=false"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address_of(process: subprocess.Popen[str]) -> str:
    """The address it prints when it is ready."""
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if line.startswith("Feedback:"):
            break
    found = re.search(r"http://\S+", told)
    assert found is not None, told
    return found[0]


def next_address(process: subprocess.Popen[str]) -> str:
    """The address it prints when the last one was used."""
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://\S+", line)
    assert found is not None, line
    return found[0]


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


# The states of the page, each from the one before, for tests and pictures.


def until(view: Any, said: str, arg: Any = None, seconds: float = 10.0) -> None:
    """Waits for an expression to hold; Playwright's own waiting is eval, which the page forbids."""
    end = time.monotonic() + seconds
    while not view.evaluate(said, arg):
        told = view.inner_text("#status") if time.monotonic() > end else ""
        assert time.monotonic() < end, f"in {seconds} s it never held: {said} ({told})"
        time.sleep(0.02)


def open_page(view: Any, page: Page) -> None:
    """The page as it opens."""
    view.goto(page.url)
    until(view, "document.title.includes('·')")


def search_for(view: Any, query: str) -> None:
    """A list of results."""
    view.fill("#query", query)
    view.click("#search button")
    until(
        view, "said => JSON.parse(sessionStorage.getItem('whet.query') ?? '[]')[0] === said", query
    )


def mark_some(view: Any) -> None:
    """Two relevant results and one that is not."""
    for place, kind in ((1, "relevant"), (2, "irrelevant"), (4, "relevant")):
        view.click(f".result:nth-child({place}) .{kind}")


def start_drag(view: Any, place: int, to: int) -> None:
    """A result that hangs between places; `view.mouse.up()` drops it."""
    handle = view.locator(f".result:nth-child({place}) .handle")
    handle.scroll_into_view_if_needed()
    own = view.locator(f".result:nth-child({place})").bounding_box()
    one = handle.bounding_box()
    goal = view.locator(f".result:nth-child({to})").bounding_box()
    x, y = one["x"] + one["width"] / 2, one["y"] + one["height"] / 2
    view.mouse.move(x, y)
    view.mouse.down()
    shift = goal["y"] + goal["height"] / 2 - own["y"] - own["height"] / 2
    for part in range(1, 9):
        view.mouse.move(x, y + shift * part / 8 + (4 if to > place else -4))


def start_tune(view: Any) -> None:
    """A tune under way."""
    view.click("#view-tune")
    view.click("#tune-start")
    view.wait_for_selector("#tune-progress:not([hidden])")


def stop_tune(view: Any) -> None:
    """The tune given up; what an earlier one brought is shown, before against after."""
    view.click("#tune-stop")
    view.wait_for_selector("#tune-progress", state="hidden")
    see_result(view)


def see_result(view: Any) -> None:
    """What a tune brought, before against after."""
    view.wait_for_selector("#result:not([hidden]) .pair")


def ship(view: Any) -> None:
    """The new version in use, in the list of versions."""
    view.click(".result-panel .go button.main")
    view.wait_for_selector("#versions li:first-child.used")


def main() -> None:
    """A server as a process: DATA MODEL HOME PORT; prints its port and key."""
    data, model, home = map(Path, sys.argv[1:4])
    page, listening = made(data, model, home, int(sys.argv[4]))
    print(page.port, page.keys.key, flush=True)
    page.server.run(sockets=[listening])


if __name__ == "__main__":
    main()
