"""Tuning as a job of its own: by `whet tune`, or by a child of the search page's server, whose
progress anybody can read from the folder of feedback.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context, parent_process, reduction
from pathlib import Path
from typing import Any

from whet.config import LabelConfig, TuneConfig, TuneJobConfig
from whet.config.ranges import check_options
from whet.config.recorded import fill, refuse_trust, spelled_record
from whet.data.load import read_dataset
from whet.encoding.store import embeddings_folder
from whet.encoding.table import encode_table
from whet.errors import CheckpointError, ConfigError, WhetError
from whet.evaluation.lexical import corpus_language, corpus_words
from whet.feedback.events.judgments import judgments
from whet.feedback.events.store import EVENTS, EventStore
from whet.feedback.learn.checks import guard_check
from whet.feedback.learn.lessons import lessons_of
from whet.feedback.learn.tune import tune
from whet.feedback.learn.versions import Versions
from whet.printable import printable, printable_lines
from whet.progress import ReportProgress, say, track
from whet.storage.commit import write_atomically
from whet.storage.lock import in_use, locked
from whet.storage.readable import readable_json, readable_yaml

STATE = "tuning.json"
KINDS: dict[str, Any] = {  # what it may hold
    "process": int | None,
    "phase": str,
    "done": int,
    "total": int,
    "message": str,
    "error": str | None,
    "version": int | None,
}
IDLE = {"phase": "", "done": 0, "total": 0, "message": "", "error": None, "version": None}


def begun_config(home: Path, trust: bool) -> LabelConfig:
    """The configuration a folder of feedback was begun with; `trust` is whether the command line
    trusts code that comes with its model. ConfigError if it is no such folder.
    """
    path = home / "config.yaml"
    if not path.is_file() or not (home / EVENTS).is_file():
        raise ConfigError(
            f"{home}: no folder of feedback. Give one that `whet label` made, such as one under "
            "runs/."
        )
    config = LabelConfig()
    record = readable_yaml(path, remedy="Bring back a copy, or begin another folder of feedback.")
    left = fill(config, record, printable(path))
    if not trust:
        refuse_trust(left, printable(path), "trust_remote_code")
    config.model.trust_remote_code = trust
    return config


def tune_folder(
    home: Path, config: TuneConfig, report_progress: ReportProgress, *, trust: bool = False
) -> dict[str, Any]:
    """Learn from all feedback in a folder; what is known of the new version.

    Each version is made from the model the folder began with, and from everything that was said
    since: so nothing learned before is lost, small errors do not add up from version to version,
    and a version depends on the events alone.

    Raises ConfigError, DataError for what the user can mend, CheckpointError if another tune of
    this folder is running.
    """
    label = begun_config(home, trust)
    with locked(home / "tune"):
        return _tuned(home, label, config, report_progress)


def _tuned(
    home: Path, label: LabelConfig, config: TuneConfig, report_progress: ReportProgress
) -> dict[str, Any]:
    """`tune_folder` for who holds the folder already."""
    data = read_dataset(label.data)
    store = EventStore(home / EVENTS)
    events = [event for _, event in store.events()]
    store.close()
    judged = judgments(events, unmarked_negative=config.unmarked_negative)
    lessons, lost = lessons_of(judged, data.corpus, data.home_N)
    if lost:
        say(f"{lost} judged documents are not in the corpus any more and are left out.")
    versions = Versions(home, label.model)
    model = versions.open(0)
    report_progress("Reading the corpus", 0, 1)
    corpus = encode_table(
        model, data.corpus, kind="document", store=embeddings_folder(), config=label.encode
    )
    # a weight that the model came with is of words counted in its language
    language = model.language if model.words else corpus_language(data.corpus)
    words = corpus_words(data.corpus, language) if config.words else None
    learned = {text.strip() for text in lessons.queries}
    guard = guard_check(
        data,
        corpus,
        model,
        other=config.guard,
        avoid=learned,
        encode=label.encode,
        words=words,
    )
    tuned = tune(
        model, lessons, corpus, guard, words=words, config=config, report_progress=report_progress
    )
    number = versions.add(tuned, events=len(events))
    return versions.facts(number)


class Tuner:
    """Tunes a folder in a child process. Usable from any thread.

    Whether one runs is asked of the lock on the folder's `tune`, which dies with the child: a
    process id would be another process's after a while.
    """

    def __init__(self, home: Path, config: TuneConfig, *, trust: bool = False) -> None:
        """`trust`: the command line trusts code that comes with the model."""
        self.home, self.config, self.trust = home, config, trust
        self.process: Any = None

    def start(self) -> None:
        """Begin; ConfigError if one is running in this folder."""
        try:
            with locked(self.home / "tune") as lock:
                _write(self.home, process=os.getpid(), phase="Starting")
                # not a fork: this process has threads, and may hold a GPU
                child = get_context("spawn").Process(
                    target=_child, args=(self.home, self.config, self.trust, _Held(lock.fileno()))
                )
                child.daemon = True
                child.start()
                self.process = child
        except CheckpointError as error:
            raise ConfigError("A tune is running. Wait for it, or stop it.") from error

    def state(self) -> dict[str, Any]:
        """Where the tune of this folder stands, whoever started it."""
        try:
            record = _read(self.home)
        except CheckpointError as error:
            record = {"process": 0, "error": str(error)}
        process = record.pop("process", None)
        running = process is not None and in_use(self.home / "tune")
        if process and not running:
            record["error"] = "The tune ended without a word: it was killed. Start it again."
        return {**IDLE, **record, "running": running}

    def stop(self) -> None:
        """End the tune that was started here; nothing of it is kept."""
        if self.process is not None and self.process.is_alive():
            self.process.kill()
            self.process.join()
            _write(self.home, message="Stopped.")


class _Held:
    """A locked file on its way to a child, which then holds the lock, too."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __getstate__(self) -> Any:
        return reduction.DupFd(self.handle)

    def __setstate__(self, copied: Any) -> None:
        self.handle = copied.detach()


def _child(home: Path, config: TuneConfig, trust: bool, held: _Held) -> None:
    """A child's whole life: its progress, then a version or what went wrong. It holds the folder
    until it ends.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then stops us
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def report_progress(phase: str, done: int, total: int) -> None:
        _write(home, process=os.getpid(), phase=phase, done=done, total=total)

    try:
        tuned = _tuned(home, begun_config(home, trust), config, report_progress)
        _write(home, version=tuned["version"], message=tuned["verdict"])
    except WhetError as error:
        _write(home, error=str(error))
    except Exception as error:
        traceback.print_exc()
        _write(home, error=f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """A tune that nobody can stop any more would keep the processor from who starts anew."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _write(home: Path, **record: Any) -> None:
    write_atomically(home / STATE, json.dumps({"process": None, **record}), private=True)


def _read(home: Path) -> dict[str, Any]:
    """What `_write` wrote. CheckpointError if the file is damaged."""
    path, remedy = home / STATE, "The next tune writes it anew."
    record = readable_json(path, remedy=remedy) if path.exists() else {}
    wrong = [name for name, value in record.items() if not isinstance(value, KINDS.get(name, ()))]
    if wrong:
        raise CheckpointError(f"{path} is damaged: {printable(wrong[0])} is wrong. {remedy}")
    return record


class Bars:
    """A bar for each phase."""

    def __init__(self) -> None:
        self.phase, self.done = "", 0
        self.bar = ExitStack()
        self.advance: Callable[..., None] = lambda count: None

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase is."""
        if phase != self.phase:
            self.bar.close()
            self.phase, self.done = phase, 0
            self.advance = self.bar.enter_context(track(phase, total, "steps"))
        self.advance(done - self.done)
        self.done = done


def tune_command(config: TuneJobConfig) -> None:
    """`whet tune`: learn from a folder of feedback, or make another of its versions current."""
    check_options(config)
    home = Path(config.folder)
    label = begun_config(home, config.trust_remote_code)
    versions = Versions(home, label.model)
    if config.use is not None:
        versions.use(config.use)
        say(f"Version {config.use} is in use.")
        return
    say(f"As {printable(home / 'config.yaml')} says: {spelled_record(label)}.")
    bars = Bars()
    with bars.bar:
        facts = tune_folder(home, config.tune, bars, trust=config.trust_remote_code)
    print(printable_lines(facts["verdict"]))
    print(printable_lines(facts["why"]))
    say(f"Version {facts['version']}: {versions.model_folder(facts['version'])}")
    if config.ship and facts["better"]:
        versions.ship(facts["version"])
        say("It is in use now.")
    elif config.ship:
        say("It is not better, so it was not shipped.")
