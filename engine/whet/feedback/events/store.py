"""The events on disk: one SQLite file, append-only, shared by any number of writers.

A row is there for good once `add` has returned, also after kill -9 or a power cut (write-ahead log,
synchronous=FULL). Rows are never changed: triggers refuse it. An event that comes twice (a page
that had no answer sends again) is stored once, by its id.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from whet.errors import CheckpointError, DataError
from whet.feedback.events.event import Event, Shown, event_of

EVENTS = "events.sqlite"  # its name in a folder of feedback
VERSION = 1  # of the tables, in SQLite's user_version
BUSY_S = 5.0  # a writer waits so long for others; the page then sends again
BESIDE = ("", "-wal", "-shm")  # the database, its write-ahead log, the index of that
SCHEMA = """
CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  time REAL NOT NULL,
  who TEXT NOT NULL,
  query TEXT NOT NULL,
  query_id TEXT,
  action TEXT NOT NULL,
  doc_id TEXT,
  place INTEGER,
  target TEXT,
  model TEXT NOT NULL,
  shown TEXT NOT NULL
) STRICT;
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events stay'); END;
CREATE TRIGGER events_last BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events stay'); END;
"""
COLUMNS = "id, time, who, query, query_id, action, doc_id, place, target, model, shown"


class EventStore:
    """The events of one folder of feedback. Usable from any thread, and by several processes.

    Reading has a connection of its own and waits for no writer.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file. CheckpointError if it is none of ours or damaged."""
        self.path = path
        self._writing, self._reading = threading.Lock(), threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(path)
        with self._named_errors():
            self._db, self._reader = self._connected(), self._connected()
            self._prepare()
            self._reader.execute("PRAGMA query_only=ON")
            self._opened = self._identities()

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def _prepare(self) -> None:
        version = self._version()
        if version == 0:
            self._db.execute("BEGIN IMMEDIATE")
            if self._version() == 0:  # no other process was faster
                for statement in SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")
            self._db.execute("COMMIT")
        if version > VERSION:
            raise CheckpointError(
                f"{self.path} was written by a newer Whet (tables of version {version}, this one "
                f"knows {VERSION}). Update Whet."
            )

    def _version(self) -> int:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _identities(self) -> dict[str, tuple[int, int]]:
        """Device and inode of each file that its path leads to now."""
        identities = {}
        for end in BESIDE:
            with suppress(FileNotFoundError, NotADirectoryError):
                about = os.stat(f"{self.path}{end}")
                identities[end] = (about.st_dev, about.st_ino)
        return identities

    def check_there(self) -> None:
        """OSError if the paths lead to other files than those that were opened, or to none: SQLite
        would go on writing where nobody looks again.
        """
        if self._identities() != self._opened:
            raise OSError(
                f"{self.path} was moved, replaced or deleted while in use, and nothing is stored "
                "until it is back in its place. Put it back, or export all events and start the "
                "command again"
            )

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise DataError(f"{self.path} takes no such event ({error}).") from error
        except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:  # or it was closed
            raise OSError(f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise CheckpointError(
                f"{self.path} is no store of events, or damaged ({error}). Move it away, or bring "
                "back a copy."
            ) from error

    def add(self, events: Sequence[Event]) -> int:
        """Store the events, all or none; returns how many of them were new.

        OSError where the disk or another writer does not let us, or the file is not where it was:
        the events are to be sent again then.
        """
        rows = [_row(event) for event in events]
        marks = ", ".join("?" * len(COLUMNS.split(",")))
        command = f"INSERT INTO events ({COLUMNS}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING"
        with self._writing, self._named_errors():
            # The lock now: a reader that turns writer later may find it taken, and fail.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                new = sum(self._db.execute(command, row).rowcount for row in rows)
                # Twice: a file moved away between the two would take a confirmed gesture with it.
                self.check_there()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self.check_there()
        return new

    def events(self, after: int = 0) -> list[tuple[int, Event]]:
        """The events numbered over `after`, with their numbers, in the order they were stored."""
        with self._reading, self._named_errors():
            rows = self._reader.execute(
                f"SELECT seq, {COLUMNS} FROM events WHERE seq > ? ORDER BY seq", (after,)
            ).fetchall()
        return [(row[0], _event(row[1:])) for row in rows]

    def close(self) -> None:
        """Give the file back."""
        with self._reading:
            self._reader.close()
        with self._writing:
            self._db.close()


def _make_private(path: Path) -> None:
    """Make an empty file that nobody else may read; queries may be private. One that is there is
    not opened: to close it would drop the locks that this process has on it.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def read_events(path: Path) -> list[Event]:
    """The events of a jsonl file. DataError names the line at fault."""
    events = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            where = f"{path} line {number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where}: no JSON ({error}). Mend or drop the line.") from error
            events.append(event_of(record, where))
    return events


def _row(event: Event) -> tuple[object, ...]:
    shown = json.dumps([[result.doc_id, result.score] for result in event.shown])
    return (
        event.id,
        event.time,
        event.who,
        event.query,
        event.query_id,
        event.action,
        event.doc_id,
        event.place,
        event.target,
        event.model,
        shown,
    )


def _event(row: tuple[Any, ...]) -> Event:
    names = COLUMNS.split(", ")
    record = dict(zip(names, row, strict=True))
    shown = tuple(Shown(doc_id, score) for doc_id, score in json.loads(record.pop("shown")))
    return Event(**record, shown=shown)
