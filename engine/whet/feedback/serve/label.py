"""What `whet label` does: serve the search page until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from whet.config import LabelConfig
from whet.config.ranges import check_options
from whet.data.load import Dataset, open_dataset, refuse_pictures
from whet.errors import CheckpointError, ConfigError, DataError, EnvironmentRefused, WhetError
from whet.feedback.events.event import LONGEST_QUERY
from whet.feedback.events.query_file import read_queries
from whet.feedback.events.store import EVENTS, EventStore
from whet.feedback.learn.job import Tuner
from whet.feedback.learn.versions import Versions
from whet.feedback.serve.access import Keys
from whet.feedback.serve.asked import AskedSession
from whet.feedback.serve.browser import has_screen, redirect_file, send_on
from whet.feedback.serve.session import Session
from whet.model.folder import find_folder
from whet.progress import say
from whet.run.early import check_device
from whet.run.folder import write_config
from whet.storage.places import make_folder
from whet.storage.readable import readable_yaml
from whet.version import install_line
from whet.web.ending import ended_by_signals
from whet.web.listening import hosts_of, listen, shown_host, warning_of

MakeSession = Callable[[Dataset, Path, EventStore, LabelConfig], tuple[Session, Tuner]]
RISK = "whoever has an address below that was not used yet can read the documents and judge"
PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "bm25s": "bm25s", "Stemmer": "PyStemmer"}


def label_command(config: LabelConfig) -> None:
    """`whet label`: search, judge, tune, on a page that only this machine's user can open.

    SIGTERM and a terminal that closes end it as Ctrl-C does, with exit code 0.
    """
    check_options(config)
    check_page()
    data = open_dataset(config.data)
    refuse_pictures(data, "whet label")
    if not len(data.corpus):
        raise DataError(f"{data.path} holds no documents. Nothing to search.")
    check_device(config.encode)
    find_folder(config.model)
    _tell_unoffered(data)
    if config.queries is None:
        run_page(data, config, session_and_tuner)
        return
    asked = read_queries(config.queries)

    def asking(
        data: Dataset, home: Path, store: EventStore, config: LabelConfig
    ) -> tuple[Session, Tuner]:
        session = AskedSession(asked, data, Versions(home, config.model), store, config.encode)
        return session, tuner_of(home, config)

    run_page(data, config, asking)


def check_page() -> None:
    """EnvironmentRefused where a package that the page needs is not here."""
    missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise EnvironmentRefused(
            f"whet label needs {' and '.join(missing)}. Run `{install_line('label')}`."
        )


def run_page(data: Dataset, config: LabelConfig, make: MakeSession) -> Path:
    """Serve the page of a folder of feedback until it is ended; returns the folder. `make` opens
    the session.
    """
    listening = listen(config.host, config.port)
    home = feedback_folder(config, data)
    store = EventStore(home / EVENTS)
    with ended_by_signals():
        _label(data, home, store, listening=listening, config=config, make=make)
    return home


def _tell_unoffered(data: Dataset) -> None:
    """Say how many queries of the data are too long for the page."""
    import pyarrow.compute as pc

    over = sum(
        pc.sum(pc.greater(pc.utf8_length(texts), LONGEST_QUERY)).as_py() or 0
        for texts in data.queries.text_arrays()
    )
    if over:
        say(
            f"{over:,} of {len(data.queries):,} queries have more than {LONGEST_QUERY:,} "
            "characters, and the page does not offer them."
        )


def _label(
    data: Dataset,
    home: Path,
    store: EventStore,
    *,
    listening: socket.socket,
    config: LabelConfig,
    make: MakeSession,
) -> None:
    try:
        session, tuner = make(data, home, store, config)
    except KeyboardInterrupt:
        store.close()
        say("Stopped before the page was ready. The same command goes on with what is left to do.")
        return
    try:
        _serve(session, tuner, home, listening, config)
    except KeyboardInterrupt:  # how a person ends it
        pass
    finally:
        with suppress(OSError):  # its folder may be gone
            tuner.stop()
        last = _last_line(session, store)
        session.close()
        listening.close()
    say(last)


def _last_line(session: Session, store: EventStore) -> str:
    """How many events are kept, and where, if they are."""
    try:
        store.check_there()
        return f"Stopped. {session.counts()['events']:,} events are in {store.path}."
    except (OSError, WhetError) as error:
        return f"Stopped. How many events are kept is not known: {error}."


def feedback_folder(config: LabelConfig, data: Dataset) -> Path:
    """The folder of the feedback, with the configuration in it. ConfigError if it is of other data
    or another model.
    """
    home = Path(config.output or Path("runs") / f"feedback_{data.name}")
    config = _absolute(config, home)
    recorded = home / "config.yaml"
    if not recorded.exists():
        if home.exists() and (not home.is_dir() or _foreign(home)):
            raise ConfigError(
                f"output={home} holds something that is no feedback. Choose another folder."
            )
        make_folder(home.parent)
        home.mkdir(mode=0o700, exist_ok=True)  # queries may be private
        write_config(home, config)
        return home
    remedy = "Bring back a copy, or say output=ANOTHER_FOLDER."
    saved = readable_yaml(recorded, remedy=remedy)
    for key, here in (("data.path", config.data.path), ("model.name", config.model.name)):
        group, _, name = key.partition(".")
        there = saved[group].get(name) if isinstance(saved.get(group), dict) else None
        if not isinstance(there, str):
            raise CheckpointError(f"{recorded} is damaged: {key} is missing or wrong. {remedy}")
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


def session_and_tuner(
    data: Dataset, home: Path, store: EventStore, config: LabelConfig
) -> tuple[Session, Tuner]:
    """The session of a folder of feedback, and what tunes it."""
    session = Session(data, Versions(home, config.model), store, config.encode)
    return session, tuner_of(home, config)


def tuner_of(home: Path, config: LabelConfig) -> Tuner:
    """What tunes a folder of feedback."""
    return Tuner(home, config.tune, trust=config.model.trust_remote_code)


def _serve(
    session: Session, tuner: Tuner, home: Path, listening: socket.socket, config: LabelConfig
) -> None:
    from whet.feedback.serve.app import guarded_app, make_app
    from whet.web.connections import server_of

    port = listening.getsockname()[1]
    keys = Keys(port)
    app = guarded_app(
        make_app(session, tuner, keys, home=home), keys, hosts_of(config.host, listening)
    )
    page = f"http://{shown_host(config.host, listening)}:{port}/?token="
    if warning := warning_of(config.host, listening, "the page", RISK):
        say(warning)
    say(f"Search page: {page}{_fresh(keys, page)}\nFeedback: {home}. Ctrl-C ends it.")
    redirect = redirect_file(home, port)
    try:
        if config.open_browser and has_screen():
            # The browser is sent a file, not the address: its arguments are visible to other
            # accounts.
            token = keys.issue(lambda: redirect.unlink(missing_ok=True))
            try:
                send_on(redirect, page + token)
            except OSError as error:
                say(f"No browser was opened ({error}). Open the address above.")
        server_of(app).run(sockets=[listening])
    finally:
        with suppress(OSError):
            redirect.unlink(missing_ok=True)


def _fresh(keys: Keys, page: str) -> str:
    """A token for a person to use; once it is, the next is told."""
    return keys.issue(
        lambda: say(f"That address was used. For another tab: {page}{_fresh(keys, page)}")
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
