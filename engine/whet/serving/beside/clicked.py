"""Clicks on what was found: stored as events, and counted for who placed the document."""

from __future__ import annotations

import time
from hashlib import blake2b

from fastapi.concurrency import run_in_threadpool

from whet.errors import ConfigError, DataError, EnvironmentRefused
from whet.feedback.events.event import CLICK, event_of
from whet.feedback.events.store import EventStore
from whet.printable import printable
from whet.serving.batches import Busy
from whet.serving.beside.lists import Listed, OpenLists
from whet.serving.payloads import ClickSent

MOST_WRITING = 256  # clicks on their way to the disk


class NoSuchSearch(ConfigError):
    """No answer of this id may be clicked."""


class NoClicks(ConfigError):
    """The server keeps none."""


class Clicks:
    """Takes clicks on the answers of late."""

    def __init__(self, store: EventStore, lists: OpenLists) -> None:
        self.lists, self._store = lists, store
        self._writing = 0

    async def take(self, sent: ClickSent) -> bool:
        """Store a click; whether it is new. It is on the disk then, also after kill -9. One that is
        sent twice is one.

        Raises NoSuchSearch, ConfigError where the document was not in the answer, Busy, and
        EnvironmentRefused where the disk takes nothing.
        """
        listed = self.lists.find(sent.search)
        if listed is None:
            raise NoSuchSearch(
                f"search: no answer of id {printable(sent.search[:40])!r} takes clicks. Send "
                "`search` of an answer of /search, soon after it."
            )
        record = _record(listed, sent)
        if self._writing >= MOST_WRITING:
            raise Busy(1)
        self._writing += 1
        try:
            new = await run_in_threadpool(self._store.add, [event_of(record, "The click")])
        except DataError as error:
            raise ConfigError(str(error)) from error
        except OSError as error:
            raise EnvironmentRefused(f"The click is not stored: {error}. Send it again.") from error
        finally:
            self._writing -= 1
        listed.clicked.add(sent.doc)
        return bool(new)


def _record(listed: Listed, sent: ClickSent) -> dict[str, object]:
    place = listed.place_of(sent.doc)
    if place is None:
        raise ConfigError(f"doc: {printable(sent.doc[:200])!r} is not in that answer.")
    named = f"{listed.id}\n{sent.doc}".encode()
    return {
        "id": blake2b(named, digest_size=16).hexdigest(),
        "time": time.time(),
        "query": listed.query,
        "action": CLICK,
        "doc_id": sent.doc,
        "place": place if sent.position is None else sent.position,
        "target": listed.id,
        "model": listed.version_of(sent.doc),
        "shown": [(shown.doc_id, shown.score) for shown in listed.shown],
    }
