"""What `whet label` does: serve the search page until Ctrl-C."""

from __future__ import annotations

import errno
import os
import socket
import sys
import webbrowser
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from whet.config import LabelConfig
from whet.data.load import Dataset, load_dataset
from whet.errors import ConfigError, DataError, EnvironmentRefused
from whet.feedback.guard import App, Keys
from whet.feedback.session import Session
from whet.feedback.store import EventStore
from whet.feedback.tuning import EVENTS, Tuner
from whet.feedback.versions import Versions
from whet.options import check_options
from whet.progress import say
from whet.run_folder import write_config

EVERYWHERE = ("0.0.0.0", "::")
PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "bm25s": "bm25s", "Stemmer": "PyStemmer"}
IDLE_S = 120  # a connection is kept while a person reads
GRACE_S = 3  # for requests under way when the server is told to stop


def label_command(config: LabelConfig) -> None:
    """`whet label`: search, judge, tune, on a page that only this machine's user can open."""
    check_options(config)
    missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise EnvironmentRefused(
            f'whet label needs {" and ".join(missing)}. Run `pip install "whet[label]"`.'
        )
    data = load_dataset(config.data.path, on_problem=config.data.on_problem)
    if not len(data.corpus):
        raise DataError(f"{data.path} holds no documents. Nothing to search.")
    listening = listen(config.host, config.port)
    home = feedback_folder(config, data)
    store = EventStore(home / EVENTS)
    try:
        session, tuner = opened(data, home, store, config)
    except KeyboardInterrupt:
        store.close()
        say("Stopped before the page was ready. The same command goes on with what is left to do.")
        return
    try:
        _serve(session, tuner, home, listening, config)
    except KeyboardInterrupt:  # how a person ends it
        pass
    finally:
        tuner.stop()
        count = session.counts()["events"]
        session.close()
        listening.close()
    say(f"Stopped. {count:,} events are in {home / EVENTS}.")


def feedback_folder(config: LabelConfig, data: Dataset) -> Path:
    """The folder of the feedback, with the configuration in it. ConfigError if it is of other data
    or another model.
    """
    import yaml

    home = Path(config.output or Path("runs") / f"feedback_{data.name}")
    config = _absolute(config, home)
    told = home / "config.yaml"
    if not told.exists():
        if home.exists() and (not home.is_dir() or _foreign(home)):
            raise ConfigError(
                f"output={home} holds something that is no feedback. Choose another folder."
            )
        home.mkdir(parents=True, exist_ok=True)
        write_config(home, config)
        return home
    saved: dict[str, Any] = yaml.safe_load(told.read_text(encoding="utf-8"))
    for key, here in (("data.path", config.data.path), ("model.name", config.model.name)):
        group, _, name = key.partition(".")
        there = saved[group][name]
        if there != here:
            raise ConfigError(
                f"{home} holds feedback for {key}={there}, and this command says {here}. "
                "Leave the option out or say output=ANOTHER_FOLDER."
            )
    return home


def _foreign(home: Path) -> bool:
    """Whether a folder holds something, and no configuration that another start wrote just now."""
    names = {path.name for path in home.iterdir() if not path.name.startswith(".")}
    return bool(names) and "config.yaml" not in names


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound and listens, before anything slow is done. ConfigError if taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port={port} is taken, perhaps by another `whet label`. Choose another, or port=0 "
                "for any that is free."
            ) from error
        raise ConfigError(
            f"host={host} port={port} cannot be listened on ({error.strerror or error}). "
            "Leave host out for this machine alone, or choose another port."
        ) from error


def hosts_of(host: str) -> list[str]:
    """The names under which the page may be asked for."""
    names = ["localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host]
    if host in EVERYWHERE:
        names += _own_names()
    return list(dict.fromkeys(name.lower() for name in names))


def _own_names() -> list[str]:
    """This machine's name and addresses, as others of the network write them."""
    name = socket.gethostname()
    names = [name, f"{name}.local"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells the address that would be used
            names.append(probe.getsockname()[0])
        except OSError:  # no network
            pass
    return names


def opened(
    data: Dataset, home: Path, store: EventStore, config: LabelConfig
) -> tuple[Session, Tuner]:
    """The session of a folder of feedback, and what tunes it."""
    versions = Versions(home, config.model)
    return Session(data, versions, store, config.encode), Tuner(
        home, config.tune, trust=config.model.trust_remote_code
    )


def _serve(
    session: Session, tuner: Tuner, home: Path, listening: socket.socket, config: LabelConfig
) -> None:
    from whet.feedback.app import guarded, make_app

    port = listening.getsockname()[1]
    keys = Keys(port)
    app = guarded(make_app(session, tuner, keys, home=home), keys, hosts_of(config.host))
    shown = _own_names()[-1] if config.host in EVERYWHERE else config.host
    shown = f"[{shown}]" if ":" in shown else shown
    if config.host in EVERYWHERE:
        say(
            f"host={config.host}: everyone on this network can reach the page, without encryption; "
            "whoever has the address below can read the documents and judge."
        )
    url = f"http://{shown}:{port}/?token={keys.token}"
    say(f"Search page: {url}\nFeedback: {home}. Ctrl-C ends it.")
    if config.open_browser and _screen():
        webbrowser.open(url)
    server_of(app).run(sockets=[listening])


def server_of(app: App) -> Any:
    """What answers requests until SIGINT or SIGTERM: `.run(sockets=[...])`."""
    import uvicorn

    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(settings)


def _screen() -> bool:
    """Whether a browser window can be shown (a text browser would take the terminal)."""
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _absolute(config: LabelConfig, home: Path) -> LabelConfig:
    """The configuration as it can be read from any folder."""
    path, model = config.data.path, config.model.name
    return replace(
        config,
        data=replace(config.data, path=str(Path(path).resolve()) if Path(path).exists() else path),
        model=replace(
            config.model, name=str(Path(model).resolve()) if Path(model).is_dir() else model
        ),
        output=str(home.resolve()),
    )
