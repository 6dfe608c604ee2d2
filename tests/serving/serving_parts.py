"""A server to test: versions of a tiny model, the guarded app, and a client with its key."""

from __future__ import annotations

from pathlib import Path

import torch
from fastapi.testclient import TestClient

from whet.config import EncodeConfig
from whet.data.load import load_dataset
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.serving.bearer import ServerKeys
from whet.serving.beside.clicked import Clicks
from whet.serving.metrics import Metrics
from whet.serving.routes import Reranker, ServerParts, guarded_app, make_app
from whet.serving.served import Served, ServerSetting
from whet.serving.swapping import Current

URL = "http://127.0.0.1:8766"


def other_model(model: Path, folder: Path) -> Path:
    """A model of other weights, on both sides."""
    encoder = Encoder.load(str(model))
    with torch.no_grad():
        for number, parameter in enumerate(encoder.parameters()):
            random = torch.Generator().manual_seed(number)
            parameter.add_(torch.randn(parameter.shape, generator=random), alpha=0.2)
    return encoder.save(folder)


def other_query_side(model: Path, folder: Path) -> Path:
    """A model whose documents' vectors are the same."""
    query = Encoder.load(str(model))
    turn_DD = torch.eye(query.dimension).flip(0)
    return Towers(query.with_matrix(turn_DD), Encoder.load(str(model))).save(folder)


class Serving:
    """A server without a socket."""

    def __init__(
        self,
        model: Path,
        data: Path | None,
        *,
        reranker: Reranker | None = None,
        words: str = "auto",
        most_waiting: int = 4096,
        clicks: Clicks | None = None,
    ) -> None:
        metrics, self.keys = Metrics(), ServerKeys()
        self.clicks = clicks
        loaded = None if data is None else load_dataset(str(data))
        setting = ServerSetting(loaded, EncodeConfig(), words, most_waiting, metrics.encoded)
        first = Served(str(model), setting)
        self.current = Current(first, lambda name, before: Served(name, setting, before))
        self.app = make_app(ServerParts(self.current, metrics, reranker, clicks))
        self.outside = guarded_app(self.app, self.keys, ["127.0.0.1"])

    def client(self, key: str | None = "") -> TestClient:
        """One that sends the key, another or none (None)."""
        client = TestClient(self.outside, base_url=URL, raise_server_exceptions=False)
        if key is not None:
            client.headers["authorization"] = f"Bearer {key or self.keys.key}"
        return client

    def owner(self) -> TestClient:
        """One that may change the version."""
        return self.client(self.keys.owner)
