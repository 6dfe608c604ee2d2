"""The search page's routes: JSON in, JSON out, and the page's own files, read once at the start."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

from whet.errors import ConfigError, DataError, WhetError
from whet.feedback.learn.job import Tuner
from whet.feedback.learn.trials import ENCODER_FROM
from whet.feedback.learn.tune import FEWEST, check_enough
from whet.feedback.serve.access import ENTER, HEADERS, HELP, Guard, Keys
from whet.feedback.serve.session import MOST_EXPLAINED, MOST_RESULTS, Session
from whet.web.asgi import App, WithHeaders

PAGE = files("whet.feedback.serve") / "page"
EXPORTS = {  # kind -> file name and media type
    "events": ("events.jsonl", "application/x-ndjson"),
    "qrels": ("qrels.tsv", "text/tab-separated-values"),
    "pairs": ("pairs.jsonl", "application/x-ndjson"),
}


class Searched(BaseModel):
    """A search."""

    query: str
    query_id: str | None = None
    k: int = Field(20, ge=1, le=MOST_RESULTS)
    who: str = "me"


class Explained(BaseModel):
    """Which documents to find the best sentences of."""

    query: str
    doc_ids: list[str] = Field(max_length=MOST_EXPLAINED)


class MissingText(BaseModel):
    """Other words, to find what a list lacks."""

    text: str
    k: int = Field(8, ge=1, le=MOST_RESULTS)


class After(BaseModel):
    """The query that the person looks at."""

    after: str | None = None


class Named(BaseModel):
    """A document."""

    doc_id: str


class Sent(BaseModel):
    """Events, as the page made them."""

    events: list[Any]


class Chosen(BaseModel):
    """A version of the model."""

    version: int


class Nothing(BaseModel):
    """A request that says all by its address."""


class Entering(BaseModel):
    """The token of an address."""

    token: str


def make_app(session: Session, tuner: Tuner, keys: Keys, *, home: Path) -> FastAPI:
    """The routes, unguarded; `guarded_app` puts the guard before them."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(WhetError, _unable)
    app.add_exception_handler(ConfigError, _refused)
    app.add_exception_handler(DataError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(400, _malformed)  # a body that is no JSON at all
    app.add_exception_handler(OSError, _unable)
    _add_page(app)
    _add_entry(app, keys)
    _add_search(app, session)
    _add_state(app, session, tuner, home)
    _add_tuning(app, session, tuner)
    return app


def guarded_app(app: FastAPI, keys: Keys, hosts: Sequence[str]) -> App:
    """The app for a server: who asks under another name than `hosts`, or without the keys, is
    refused.
    """
    behind = TrustedHostMiddleware(
        Guard(app, keys, _files()),
        allowed_hosts=list(hosts),
        www_redirect=False,
    )
    return WithHeaders(behind, HEADERS)


def _add_page(app: FastAPI) -> None:
    """A route for each file: no name that a browser sends is ever looked for on disk."""
    for path, file in _files().items():
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        kind = "text/javascript" if file.name.endswith(".js") else kind
        app.add_api_route(path, _giving(file.read_bytes(), kind), methods=["GET"])


def _files() -> dict[str, Traversable]:
    """The page's files by their paths. They hold no secret: who has no key may read them, too."""
    files = sorted(PAGE.iterdir(), key=lambda file: file.name)
    return {"/" if file.name == "index.html" else f"/{file.name}": file for file in files}


def _giving(content: bytes, kind: str) -> Callable[[], Response]:
    def give() -> Response:
        return Response(content, media_type=kind)

    return give


def _add_entry(app: FastAPI, keys: Keys) -> None:
    @app.post(ENTER)
    async def enter(asked: Entering) -> Any:  # in the server's own thread, as all that spends
        if not keys.spend(asked.token):
            return PlainTextResponse(HELP, status_code=401)
        return {"key": keys.key}


def _add_search(app: FastAPI, session: Session) -> None:
    @app.post("/api/search")
    def search(asked: Searched) -> Any:
        return session.search(asked.query, asked.query_id, asked.k, asked.who)

    @app.post("/api/why")
    def why(asked: Explained) -> Any:
        return session.why(asked.query, asked.doc_ids)

    @app.post("/api/find")
    def find(asked: MissingText) -> Any:
        return session.find(asked.text, asked.k)

    @app.post("/api/document")
    def document(asked: Named) -> Any:
        return {"text": session.document(asked.doc_id)}

    @app.post("/api/next")
    def following(asked: After) -> Any:
        return session.next_query(asked.after)


def _add_state(app: FastAPI, session: Session, tuner: Tuner, home: Path) -> None:
    label = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]

    @app.get("/api/state")
    def state() -> Any:
        session.follow()
        return {
            "home": label,  # events that wait in a browser are of one folder
            "folder": str(home),
            "data": session.data.name,
            "documents": len(session.data.corpus),
            "queries": session.offered,
            "version": session.version,
            "counts": session.counts(),
            "needs": {"fewest": FEWEST, "encoder": ENCODER_FROM},  # answered queries, for a tune
            "tuning": tuner.state()["running"],
        }

    @app.get("/api/counts")
    def counts() -> Any:
        return session.counts()

    @app.post("/api/events")
    def events(sent: Sent) -> Any:
        return {"new": session.add(sent.events)}

    for kind, (name, media) in EXPORTS.items():
        app.add_api_route(f"/api/{name}", _exporting(session, kind, name, media), methods=["GET"])


def _exporting(session: Session, kind: str, name: str, media: str) -> Callable[[], Response]:
    def export() -> Response:
        disposition = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(session.export(kind), media_type=media, headers=disposition)

    return export


def _add_tuning(app: FastAPI, session: Session, tuner: Tuner) -> None:
    versions = session.versions

    @app.get("/api/tune")
    def tuning() -> Any:
        return tuner.state()

    @app.post("/api/tune/start")
    def start(asked: Nothing) -> Any:
        check_enough(session.counts()["answered"])  # before a process is started to say the same
        tuner.start()
        return tuner.state()

    @app.post("/api/tune/stop")
    def stop(asked: Nothing) -> Any:
        tuner.stop()
        state = tuner.state()
        if state["running"]:
            raise ConfigError("This tune was started elsewhere. Stop it where that was.")
        return state

    @app.get("/api/versions")
    def listed() -> Any:
        return {"current": versions.current(), "versions": session.listed()}

    @app.post("/api/versions/look")
    def look(asked: Chosen) -> Any:
        return session.described(asked.version)

    def chosen(act: Callable[[int], None]) -> Callable[[Chosen], Any]:
        def answer(asked: Chosen) -> Any:
            act(asked.version)
            session.follow()
            return {"current": versions.current()}

        return answer

    for name in ("ship", "discard", "use"):
        route = f"/api/versions/{name}"
        app.add_api_route(route, chosen(getattr(versions, name)), methods=["POST"])


def _refused(request: Request, error: Exception) -> JSONResponse:
    """What was sent cannot be: it will not be stored when it is sent again."""
    return JSONResponse({"error": str(error)}, status_code=400)


def _malformed(request: Request, error: Exception) -> JSONResponse:
    """The same, of what does not come as far as a route; the first field at fault is named."""
    why = ""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body")
        why = f" {field or 'It'}: {first['msg']}."
    return JSONResponse({"error": f"The request is not what this route takes.{why}"}, 400)


def _unable(request: Request, error: Exception) -> JSONResponse:
    """Nothing was stored, and not for what was sent: the page keeps it and sends it again."""
    return JSONResponse({"error": str(error)}, status_code=503)
