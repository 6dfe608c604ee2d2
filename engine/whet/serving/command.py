"""What `whet serve` does: answer until Ctrl-C; or have a server that runs answer with another
version.
"""

from __future__ import annotations

import os
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING

from whet.config import ModelConfig, ServeConfig
from whet.config.ranges import check_options
from whet.data.load import Dataset
from whet.errors import ConfigError, DataError, EnvironmentRefused
from whet.evaluation.lexical.weight import check_words
from whet.feedback.events.store import EVENTS
from whet.model.folder import find_folder, is_cross_encoder
from whet.printable import printable
from whet.progress import say
from whet.run.early import check_device
from whet.run.folder import data_of, model_of
from whet.serving.bearer import ServerKeys
from whet.serving.state import ServerState
from whet.storage.places import user_path
from whet.version import install_line
from whet.web.ending import ended_by_signals
from whet.web.listening import address_of, hosts_of, listen, shown_host, warning_of

if TYPE_CHECKING:
    from whet.serving.beside.clicked import Clicks

PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"}
KEY = "WHET_API_KEY"  # in the environment: others of the machine see a command's options
SHORTEST_KEY = 16
MOST_CONNECTIONS = 1000
RISK = "whoever has the key can search the documents, and the key can be read on the way"


def serve_command(config: ServeConfig) -> None:
    """`whet serve`: vectors, searches and scores over HTTP until Ctrl-C, SIGTERM or a closed
    terminal; with use= or back= a change of the version of a server that runs.
    """
    check_options(config)
    if config.use is not None or config.back or config.beside is not None or config.alone:
        _change(config)
        return
    if config.mode != "shadow" or config.decide != "ask":
        raise ConfigError("mode= and decide= are of a version beside. Say beside=RUN, too.")
    if config.run is None:
        raise ConfigError("Say what to serve: whet serve runs/RUN, or whet serve MODEL data=PATH.")
    _check_installed()
    check_device(config.encode)
    check_words(config.words, config.run, ("auto",))
    model = model_of(config.run)
    find_folder(model)
    _check_reranker(config.reranker)
    keys = _keys()
    data = data_of(config.run, config.data.path)
    if data is not None and not len(data.corpus):
        raise DataError(f"{printable(data.path)} holds no documents. Nothing to search.")
    if config.events is not None and data is None:
        raise ConfigError("events= keeps clicks on what is found. Give data=PATH, too.")
    listening = listen(config.host, config.port)
    try:
        with ended_by_signals():
            _serve(config, data, keys, listening)
    except KeyboardInterrupt:  # how a person ends it
        say("Stopped.")
    finally:
        listening.close()


def _change(config: ServeConfig) -> None:
    asked = [config.use is not None, config.back, config.beside is not None, config.alone]
    if config.run is not None or sum(asked) > 1:
        raise ConfigError(
            "use=, back=, beside= and alone= change a server that runs: give one of them alone."
        )
    server = ServerState.of_port(config.port)
    if config.beside is not None:
        _put_beside(server, config.beside, config)
        return
    if config.use is not None:
        now = server.change("/versions/use", {"model": _there(config.use)})
    else:
        now = server.change("/versions/alone" if config.alone else "/versions/back", {})
    print(f"{printable(now['model'])} answers now, as version {printable(now['version'])}.")
    if config.use is not None:
        print(f"Back: whet serve back=true port={config.port}")


def _put_beside(server: ServerState, name: str, config: ServeConfig) -> None:
    if config.decide == "auto" and config.mode != "interleave":
        raise ConfigError("decide=auto needs clicks on both versions. Say mode=interleave, too.")
    sent = {"model": _there(name), "mode": config.mode, "decide": config.decide}
    trial = server.change("/versions/beside", sent)
    how = "in its shadow" if config.mode == "shadow" else "interleaved with it"
    print(
        f"{printable(trial['model'])} is beside the version that answers, {how}, as version "
        f"{printable(trial['version'])}.\nWhat comes of it: GET /versions. End: whet serve "
        f"alone=true port={config.port}"
    )


def _there(name: str) -> str:
    """A model's name for a server that may have been started in another folder."""
    find_folder(model_of(name))
    path = user_path(name)
    return str(path.resolve()) if path.exists() else name


def _check_installed() -> None:
    missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise EnvironmentRefused(
            f"whet serve needs {' and '.join(missing)}. Run `{install_line('serve')}`."
        )


def _check_reranker(name: str | None) -> None:
    if name is None:
        return
    folder = find_folder(ModelConfig(name=name), "reranker")
    if not is_cross_encoder(folder):
        raise ConfigError(f"reranker={printable(name)} is no cross-encoder. Give another model.")


def _keys() -> ServerKeys:
    given = os.environ.get(KEY)
    if given is None:
        return ServerKeys()
    if len(given) < SHORTEST_KEY or not given.isascii() or not given.isprintable():
        raise ConfigError(f"{KEY} is no good key. Take {SHORTEST_KEY} ASCII characters or more.")
    return ServerKeys(key=given)


def _serve(
    config: ServeConfig, data: Dataset | None, keys: ServerKeys, listening: socket.socket
) -> None:
    from whet.serving.metrics import Metrics
    from whet.serving.routes import ServerParts, guarded_app, make_app
    from whet.serving.served import Served, ServerSetting
    from whet.serving.swapping import Current
    from whet.web.connections import server_of

    metrics = Metrics()
    setting = ServerSetting(data, config.encode, config.words, config.queue, metrics.encoded)
    first = Served(str(config.run), setting)
    current = Current(first, lambda name, before: Served(name, setting, before))
    reranker = None
    if config.reranker is not None:
        from whet.mining.crossencoder import CrossEncoder

        reranker = CrossEncoder(config.reranker, device=config.encode.device, option="reranker")
    clicks = None if config.events is None else _clicks(config.events, config.click_seconds)
    app = guarded_app(
        make_app(ServerParts(current, metrics, reranker, clicks)),
        keys,
        hosts_of(config.host, listening),
    )
    port, address = listening.getsockname()[1], address_of(listening)
    if warning := warning_of(config.host, listening, "the server", RISK):
        say(warning)
    say(_greeting(f"http://{shown_host(config.host, listening)}:{port}", first.version, keys, data))
    own = (
        ("::1" if address.version == 6 else "127.0.0.1") if address.is_unspecified else str(address)
    )
    with ServerState(own, port, keys.owner).kept():
        server_of(app, MOST_CONNECTIONS).run(sockets=[listening])


def _clicks(folder: str, seconds: float) -> Clicks:
    from whet.feedback.events.store import EventStore
    from whet.serving.beside.clicked import Clicks
    from whet.serving.beside.lists import OpenLists

    path = user_path(folder) / EVENTS
    try:
        return Clicks(EventStore(path), OpenLists(seconds))
    except OSError as error:
        raise EnvironmentRefused(f"No clicks can be kept in events={folder}: {error}.") from error


def _greeting(url: str, version: str, keys: ServerKeys, data: Dataset | None) -> str:
    key = f"${KEY}" if os.environ.get(KEY) else keys.key
    what = "vectors alone (no data=)" if data is None else f"{len(data.corpus):,} documents"
    example = (
        f'curl {url}/v1/embeddings -H "Authorization: Bearer {key}" '
        '-H \'Content-Type: application/json\' -d \'{"input": "words", "input_type": "query"}\''
    )
    return (
        f"Serving {what}, version {version}: {url}\nKey: {key}\n{example}\n"
        "Routes: /v1/embeddings /search /events /v1/rerank /v1/models /versions /health /metrics "
        "/openapi.json. Ctrl-C ends it."
    )
