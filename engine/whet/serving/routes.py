"""The routes of `whet serve`: JSON in, JSON out."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse, Response

from whet.errors import ConfigError, WhetError
from whet.serving.batches import Busy
from whet.serving.bearer import HEADERS, BearerGuard, ServerKeys, problem
from whet.serving.beside.clicked import Clicks, NoClicks, NoSuchSearch
from whet.serving.beside.contender import Contender, shown_of
from whet.serving.beside.lists import Listed
from whet.serving.metrics import CONTENT_TYPE, Metrics
from whet.serving.payloads import (
    MODEL,
    MOST_TEXTS,
    BesideAsked,
    ClickSent,
    EmbeddingsAsked,
    RerankAsked,
    SearchAsked,
    UseAsked,
)
from whet.serving.served import Hit, Served
from whet.serving.swapping import Current, shown_version
from whet.version import VERSION
from whet.web.asgi import App, WithHeaders

Call = Callable[[Request], Awaitable[Response]]


class Reranker(Protocol):
    """Scores of pairs: `whet.mining.crossencoder.CrossEncoder`."""

    def scores(self, queries: list[str], documents: list[str]) -> np.ndarray:
        """Float32 [M] of the pairs."""
        ...


@dataclass(frozen=True)
class ServerParts:
    """What the routes answer from."""

    current: Current
    metrics: Metrics
    reranker: Reranker | None = None
    clicks: Clicks | None = None


def make_app(server: ServerParts) -> FastAPI:
    """The routes, unguarded; `guarded_app` puts the guard before them."""
    app = FastAPI(title="Whet", version=VERSION, docs_url=None, redoc_url=None)
    server.metrics.shows(lambda: server.current)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(400, _malformed)  # a body that is no JSON at all
    app.add_exception_handler(ConfigError, _refused)
    app.add_exception_handler(WhetError, _unable)
    app.add_exception_handler(Busy, _busy)
    _count_requests(app, server.metrics)
    _add_embeddings(app, server)
    _add_search(app, server)
    _add_rerank(app, server)
    _add_versions(app, server)
    _add_health(app, server)
    return app


def guarded_app(app: FastAPI, keys: ServerKeys, hosts: Sequence[str]) -> App:
    """The app for a server: who asks under another name than `hosts`, or without a key, is
    refused.
    """
    behind = TrustedHostMiddleware(
        BearerGuard(app, keys), allowed_hosts=list(hosts), www_redirect=False
    )
    return WithHeaders(behind, HEADERS)


def _count_requests(app: FastAPI, metrics: Metrics) -> None:
    @app.middleware("http")
    async def counted(request: Request, call: Call) -> Response:
        start = time.monotonic()
        response = await call(request)
        route = request.scope.get("route")  # what strangers send is no label: there is no end of it
        path = getattr(route, "path", "other")
        metrics.answered(path, response.status_code, time.monotonic() - start)
        return response


def _add_embeddings(app: FastAPI, server: ServerParts) -> None:
    @app.post("/v1/embeddings")
    async def embeddings(asked: EmbeddingsAsked) -> Response:
        served, texts = _version(server.current, asked.model), asked.texts()
        if not 1 <= len(texts) <= MOST_TEXTS:
            raise ConfigError(f"input: 1 to {MOST_TEXTS:,} texts, not {len(texts):,}.")
        if asked.input_type is None and served.needs_kind:
            raise ConfigError(
                "input_type: this model reads queries and documents differently. Say "
                '"input_type": "query" or "document".'
            )
        if asked.dimensions is not None and asked.dimensions > served.dimension:
            raise ConfigError(
                f"dimensions: the model has {served.dimension}, not {asked.dimensions}."
            )
        made = await served.batches.vectors(texts, asked.input_type or "document")
        # Thousands of numbers as text take the time of many requests: not in the event loop.
        return await run_in_threadpool(_embeddings, *made, asked, served.version)

    @app.get("/v1/models")
    def models() -> Any:
        now, before = server.current.now, server.current.before
        ids = [MODEL, now.version, *([] if before is None else [before.version])]
        return {
            "object": "list",
            "data": [{"id": id_, "object": "model", "owned_by": "whet"} for id_ in ids],
        }


def _embeddings(
    vector_ND: np.ndarray, tokens: int, asked: EmbeddingsAsked, version: str
) -> Response:
    if asked.dimensions is not None and asked.dimensions < vector_ND.shape[1]:
        vector_ND = vector_ND[:, : asked.dimensions]
        length_N1 = np.linalg.norm(vector_ND, axis=1, keepdims=True)
        vector_ND = vector_ND / np.where(length_N1 == 0, 1, length_N1)
    little = np.ascontiguousarray(vector_ND, "<f4")
    as_text = asked.encoding_format == "base64"
    rows = [base64.b64encode(row).decode() for row in little] if as_text else little.tolist()
    data = [
        {"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"object": "list", "data": data, "model": MODEL, "version": version, "usage": usage}
    return Response(json.dumps(answer), media_type="application/json")


def _add_search(app: FastAPI, server: ServerParts) -> None:
    @app.post("/search")
    async def search(asked: SearchAsked) -> Any:
        served = _version(server.current, asked.model)
        found, listed = await _found(server.current.beside, served, asked)
        if server.clicks is not None:
            server.clicks.lists.keep(listed)
        hits = [{"id": id_, "score": score, "text": text} for id_, score, text in found]
        return {"version": served.version, "search": listed.id, "hits": hits}

    @app.post("/events")
    async def events(sent: ClickSent) -> Any:
        if server.clicks is None:
            raise NoClicks("No clicks are kept. Start whet serve with events=FOLDER.")
        return {"new": await server.clicks.take(sent)}


async def _found(
    trial: Contender | None, served: Served, asked: SearchAsked
) -> tuple[list[Hit], Listed]:
    """A search's answer. Who asks for one version by its id takes no part in a trial."""
    if asked.model != MODEL:
        trial = None
    if trial is not None and trial.mode == "interleave":
        return await trial.interleaved(served, asked)
    found = await served.search(asked)
    if trial is not None:
        trial.shadow(asked, found)
    return found, Listed(asked.query, served.version, shown_of(found))


def _add_rerank(app: FastAPI, server: ServerParts) -> None:
    turn = asyncio.Lock()  # its tokenizer cannot be shared by threads

    @app.post("/v1/rerank")
    async def rerank(asked: RerankAsked) -> Any:
        if server.reranker is None:
            raise ConfigError(
                "No reranker is served. Start whet serve with reranker=CROSS_ENCODER."
            )
        queries = [asked.query] * len(asked.documents)
        async with turn:
            scores = await run_in_threadpool(server.reranker.scores, queries, asked.documents)
        order = np.argsort(-scores, kind="stable")[: asked.top_n]
        results = [
            {"index": place, "relevance_score": float(scores[place])}
            | ({"document": {"text": asked.documents[place]}} if asked.return_documents else {})
            for place in order.tolist()
        ]
        return {"results": results}


def _add_versions(app: FastAPI, server: ServerParts) -> None:
    current = server.current

    @app.get("/versions")
    async def versions() -> Any:
        if server.clicks is not None:
            server.clicks.lists.close_old()
        before, trial = current.before, current.beside
        return {
            "now": shown_version(current.now),
            "before": None if before is None else shown_version(before),
            "beside": None if trial is None else shown_version(trial.served) | trial.state(),
            "ended": current.ended,
        }

    @app.post("/versions/use")
    async def use(asked: UseAsked) -> Any:
        try:
            return shown_version(await current.use(asked.model))
        except WhetError as error:  # also of a hub that is not reached: it is the name that fails
            raise ConfigError(str(error)) from error

    @app.post("/versions/back")
    async def back() -> Any:  # in the event loop's thread, as all that changes the version
        return shown_version(current.back())

    @app.post("/versions/beside")
    async def beside(asked: BesideAsked) -> Any:
        if asked.mode == "interleave" and server.clicks is None:
            raise ConfigError(
                "Clicks decide, and none are kept. Start whet serve with events=FOLDER."
            )
        try:
            trial = await current.put_beside(
                asked.model,
                asked.mode,
                auto=asked.decide == "auto",
                compared=server.metrics.compared,
            )
        except WhetError as error:
            raise ConfigError(str(error)) from error
        return shown_version(trial.served) | trial.state()

    @app.post("/versions/alone")
    async def alone() -> Any:
        if current.beside is None:
            raise ConfigError("There is no version beside the one that answers.")
        current.end_trial()
        return shown_version(current.now)


def _add_health(app: FastAPI, server: ServerParts) -> None:
    @app.get("/health")
    def health() -> Any:
        return {"status": "ok"}

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(server.metrics.text(), headers={"content-type": CONTENT_TYPE})


def _version(current: Current, model: str) -> Served:
    served = current.of_id(model)
    if served is None:
        raise ConfigError(f"model: there is no {model!r} here. GET /v1/models lists what there is.")
    return served


def _malformed(request: Request, error: Exception) -> JSONResponse:
    """The first field at fault is named."""
    why = ""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body")
        why = f" {field or 'It'}: {first['msg']}."
    return JSONResponse(problem(f"The request is not what this route takes.{why}"), 400)


def _refused(request: Request, error: Exception) -> JSONResponse:
    statuses: dict[type[Exception], int] = {NoSuchSearch: 404, NoClicks: 409}
    return JSONResponse(problem(str(error)), statuses.get(type(error), 400))


def _unable(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(problem(str(error)), 503)


def _busy(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Busy)
    return JSONResponse(problem(str(error)), 429, {"retry-after": str(error.after_s)})
