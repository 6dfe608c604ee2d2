"""Which version answers: changed while requests are under way, and back by one call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from whet.errors import ConfigError
from whet.printable import printable
from whet.serving.beside.contender import Contender, Mode
from whet.serving.beside.evidence import Decision
from whet.serving.payloads import MODEL
from whet.serving.served import Served

Open = Callable[[str, Served], Served]  # of a name, beside the version that answers


class Current:
    """The version that answers, and the one before it. Used in the event loop's thread."""

    def __init__(self, first: Served, open_version: Open) -> None:
        self.now = first
        self.before: Served | None = None
        self.beside: Contender | None = None
        self.ended: dict[str, Any] | None = None  # what the last trial came to
        self._open = open_version
        self._turn = asyncio.Lock()

    async def use(self, name: str) -> Served:
        """Open another model or run beside the traffic, and let it answer what comes from then on;
        what is under way ends on the version that it began with.

        Raises what opening it does, and nothing has changed then; ConfigError while another change
        is under way. A trial ends by it.
        """
        opened = await self._opened_in_turn(name)
        self.end_trial()
        self.before, self.now = self.now, opened
        return opened

    async def put_beside(
        self, name: str, mode: Mode, *, auto: bool, compared: Callable[[float, float], None]
    ) -> Contender:
        """Open another model or run, and try it beside the one that answers. With `auto` it answers
        as soon as clicks say that it is better. Raises as `use` does, and ends the trial before.
        """
        opened = await self._opened_in_turn(name)
        if opened.version == self.now.version:
            raise ConfigError(f"{printable(name)} is the version that answers. Try another.")
        self.end_trial()
        decided = self._follow if auto else None
        self.beside = Contender(opened, mode, decided=decided, compared=compared)
        return self.beside

    def end_trial(self, by: str = "hand") -> None:
        """Let the version that answers be alone again, and keep what the trial came to."""
        if self.beside is not None:
            self.ended = {**shown_version(self.beside.served), **self.beside.state(), "by": by}
            self.beside = None

    def _follow(self, trial: Contender, said: Decision) -> None:
        """Do what the clicks of a trial say."""
        if trial is not self.beside:
            return
        self.end_trial(by="clicks")
        if said == "ship":
            self.before, self.now = self.now, trial.served

    async def _opened_in_turn(self, name: str) -> Served:
        if self._turn.locked():
            raise ConfigError("Another version is being opened. Ask again when it answers.")
        async with self._turn:
            return await self._opened_beside(name)

    async def _opened_beside(self, name: str) -> Served:
        """Opened by a thread that nobody waits for when the server ends: to encode a corpus may
        take hours, and what is in the store by then stays there.
        """
        loop, now = asyncio.get_running_loop(), self.now
        answer: asyncio.Future[Served] = loop.create_future()

        def tell(opened: Served | None, error: Exception | None) -> None:
            if answer.done():  # who asked is gone
                return
            if opened is None:
                answer.set_exception(error or RuntimeError("nothing was opened"))
            else:
                answer.set_result(opened)

        def open_it() -> None:
            opened, failure = None, None
            try:
                opened = self._open(name, now)
            except Exception as error:
                failure = error
            with suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(tell, opened, failure)

        threading.Thread(target=open_it, name="open", daemon=True).start()
        return await answer

    def back(self) -> Served:
        """Let the version before answer again, alone. ConfigError where there is none."""
        if self.before is None:
            raise ConfigError("There is no version before this one. Say use=MODEL.")
        self.end_trial()
        self.before, self.now = self.now, self.before
        return self.now

    def of_id(self, model: str) -> Served | None:
        """The version that a request asks for: the current one by MODEL, one of the two by its own
        id; None for another.
        """
        if model == MODEL:
            return self.now
        kept = [self.now] if self.before is None else [self.now, self.before]
        return next((served for served in kept if served.version == model), None)


def shown_version(served: Served) -> dict[str, Any]:
    """A version as /versions tells it."""
    return {"model": served.name, "version": served.version}
