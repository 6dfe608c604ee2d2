"""The store of events: what was acknowledged is there, once, whatever happens to the process."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from whet.errors import CheckpointError, DataError
from whet.feedback.events.event import Event, Shown
from whet.feedback.events.exports import events_jsonl
from whet.feedback.events.store import EventStore, read_events

WRITER = """
import sys
from uuid import uuid4
from pathlib import Path
from whet.feedback.events.event import Event
from whet.feedback.events.store import EventStore
store = EventStore(Path(sys.argv[1]))
while True:
    events = [Event(uuid4().hex, "q", "relevant", doc_id="d") for _ in range(3)]
    store.add(events)
    print(*(event.id for event in events), flush=True)
"""

LOOK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT count(*) FROM events").fetchone()
database.close()
"""


def some(count: int) -> list[Event]:
    shown = (Shown("d1", 0.25), Shown("é 2", None))
    return [Event(uuid4().hex, f"q {n}", "relevant", shown, doc_id="d1") for n in range(count)]


def test_what_is_added_is_read_back_in_order_once(tmp_path):
    store, events = EventStore(tmp_path / "a" / "events.sqlite"), some(5)
    assert store.add(events[:3]) == 3
    assert store.add(events) == 2
    numbers, found = zip(*store.events(), strict=True)
    assert list(found) == events
    assert [event for _, event in store.events(after=numbers[2])] == events[3:]
    store.close()
    again = EventStore(tmp_path / "a" / "events.sqlite")
    assert [event for _, event in again.events()] == events
    assert again.path.stat().st_mode & 0o077 == 0  # nobody else may read


def test_rows_cannot_be_changed(tmp_path):
    store = EventStore(tmp_path / "events.sqlite")
    store.add(some(2))
    other = sqlite3.connect(store.path)
    for command in ("UPDATE events SET who = 'x'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="events stay"):
            other.execute(command)


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
@pytest.mark.parametrize("fault", ["deleted", "moved", "replaced"])
def test_nothing_is_said_to_be_kept_in_a_file_that_is_gone(tmp_path, ending, fault):
    store = EventStore(tmp_path / "events.sqlite")
    store.add(some(1))
    path, aside = tmp_path / f"events.sqlite{ending}", tmp_path / "aside"
    path.rename(aside)
    if fault == "replaced":
        path.write_bytes(aside.read_bytes())
    if fault == "deleted":
        aside.unlink()
    with pytest.raises(OSError, match="moved, replaced or deleted"):
        store.add(some(2))
    assert len(store.events()) == 1  # what it holds can still be exported
    if fault != "deleted":
        aside.rename(path)
        assert store.add(some(3)) == 3
    store.close()


def test_a_folder_that_is_moved_is_noticed_and_may_come_back(tmp_path):
    store, events = EventStore(tmp_path / "a" / "events.sqlite"), some(2)
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(OSError, match="moved"):
        store.add(events)
    (tmp_path / "b").rename(tmp_path / "a")
    assert store.add(events) == 2
    assert len(store.events()) == 2


def test_a_file_that_goes_while_it_is_written_is_noticed(tmp_path, monkeypatch):
    store = EventStore(tmp_path / "events.sqlite")
    before, calls = store._identities, []

    def identities():
        calls.append(1)
        if len(calls) == 2:  # after the commit, before the answer
            store.path.unlink()
        return before()

    monkeypatch.setattr(store, "_identities", identities)
    with pytest.raises(OSError, match="deleted"):
        store.add(some(1))


def test_reading_waits_for_no_writer(tmp_path, monkeypatch):
    monkeypatch.setattr("whet.feedback.events.store.BUSY_S", 0.3)
    store = EventStore(tmp_path / "events.sqlite")
    store.add(some(2))
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def refused() -> None:
        with pytest.raises(OSError, match="locked"):
            store.add(some(1))

    late = threading.Thread(target=refused)
    late.start()  # holds the store's own lock while it waits
    while not store._writing.locked():
        time.sleep(0.001)
    start = time.monotonic()
    assert len(store.events()) == 2
    again = EventStore(store.path)  # neither does opening
    assert len(again.events()) == 2
    assert time.monotonic() - start < 0.2
    late.join()
    with pytest.raises(OSError, match="locked"):
        store.add(some(1))
    other.execute("COMMIT")
    assert store.add(some(1)) == 1


def test_opening_again_drops_no_lock(tmp_path):
    """A file that is opened and closed loses all locks that its process has on it (POSIX): another
    process would take itself for the last one, and remove the log that is in use.
    """
    store = EventStore(tmp_path / "events.sqlite")
    store.add(some(1))
    EventStore(store.path).close()
    subprocess.run([sys.executable, "-c", LOOK, str(store.path)], check=True)
    assert store.add(some(1)) == 1


def test_an_event_that_does_not_fit_is_no_damage(tmp_path):
    store = EventStore(tmp_path / "events.sqlite")
    with pytest.raises(DataError, match="takes no such event"):
        store.add([replace(some(1)[0], place="x")])
    assert store.events() == []


def test_a_closed_store_is_no_damage(tmp_path):
    store = EventStore(tmp_path / "events.sqlite")
    store.close()
    for act in (store.events, lambda: store.add(some(1))):
        with pytest.raises(OSError, match="closed"):
            act()


def test_an_export_comes_back(tmp_path):
    events = some(4)
    (tmp_path / "events.jsonl").write_text(events_jsonl(events), encoding="utf-8")
    assert read_events(tmp_path / "events.jsonl") == events
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match=r"events.jsonl line 5: id"):
        read_events(tmp_path / "events.jsonl")


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\0" + b"x" * 4096]
)
def test_a_foreign_file_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "events.sqlite"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no store of events, or damaged"):
        EventStore(path)
    assert path.read_bytes() == content


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    EventStore(tmp_path / "events.sqlite").close()
    database = sqlite3.connect(tmp_path / "events.sqlite")
    database.execute("PRAGMA user_version=9")
    database.close()
    with pytest.raises(CheckpointError, match="newer Whet"):
        EventStore(tmp_path / "events.sqlite")


def test_a_full_disk_stores_nothing_and_says_so(tmp_path):
    store = EventStore(tmp_path / "events.sqlite")
    store.add(some(1))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages}")
    big = [Event(uuid4().hex, "q" * 2000, "skip") for _ in range(200)]
    with pytest.raises(OSError, match="database or disk is full"):
        store.add(big)
    assert len(store.events()) == 1
    store._db.execute(f"PRAGMA max_page_count={pages + 1000}")
    assert store.add(big) == 200


@pytest.mark.slow
def test_writers_that_are_killed_lose_nothing_they_acknowledged(tmp_path):
    """Four at a time, kill -9 at random moments."""
    path, chance = tmp_path / "events.sqlite", random.Random(1)
    told: list[str] = []
    for _ in range(3):
        writers = [writer(path) for _ in range(4)]
        for process in writers:
            assert process.stdout is not None
            told += process.stdout.readline().split()  # it is at work
        time.sleep(chance.random())
        for process in writers:
            os.kill(process.pid, signal.SIGKILL)
            whole = process.communicate()[0].rpartition("\n")[0]
            told += whole.split()
    stored = [event.id for _, event in EventStore(path).events()]
    assert len(told) > 36
    assert set(told) <= set(stored)
    assert len(stored) == len(set(stored))
    # what was not acknowledged is there whole or not at all
    assert len(stored) % 3 == 0
    checked = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()
    assert checked == ("ok",)


def writer(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
