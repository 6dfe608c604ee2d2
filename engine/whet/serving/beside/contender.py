"""Another version that is tried beside the one that answers."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from whet.feedback.events.event import Shown
from whet.serving.beside.draft import team_draft, winner
from whet.serving.beside.evidence import Decision, Wins, decision
from whet.serving.beside.lists import Listed
from whet.serving.payloads import SearchAsked
from whet.serving.served import Hit, Served

Mode = Literal["shadow", "interleave"]

GATHER_S = 0.25  # a shadow waits so long for others: together they cost little more than one
TOGETHER = 32  # shadows
MOST_SHADOWS = 1_000  # that wait; beyond it searches go without


@dataclass
class Seen:
    """What the version beside made of the searches so far."""

    searches: int = 0
    changed: float = 0.0  # sum of the shares of documents that are others
    seconds: float = 0.0
    left_out: int = 0  # searches that it did not answer


class Contender:
    """A version beside: what it answers, and what clicks say of it. In the event loop's thread."""

    def __init__(
        self,
        served: Served,
        mode: Mode,
        *,
        decided: Callable[[Contender, Decision], None] | None = None,
        compared: Callable[[float, float], None] = lambda changed, seconds: None,
    ) -> None:
        """`decided` is told as soon as clicks have decided; without it nothing follows from them.
        `compared` is told of each search: the share of documents that changed, and seconds.
        """
        self.served, self.mode = served, mode
        self.seen, self.wins = Seen(), Wins()
        self._decided, self._compared = decided, compared
        self._waiting: list[tuple[SearchAsked, list[str]]] = []
        self._work: asyncio.Task[None] | None = None

    def state(self) -> dict[str, Any]:
        """What is known so far, as JSON has it."""
        searches = max(1, self.seen.searches)
        told: dict[str, Any] = {
            "mode": self.mode,
            "decide": "ask" if self._decided is None else "auto",
            "searches": self.seen.searches,
            "left_out": self.seen.left_out,
            "changed": self.seen.changed / searches,
            "seconds": self.seen.seconds / searches,
        }
        if self.mode == "interleave":
            wins = self.wins
            told["lists"] = {"now": wins.now, "beside": wins.beside, "ties": wins.ties}
            told["decision"] = decision(wins)
        return told

    async def interleaved(self, now: Served, asked: SearchAsked) -> tuple[list[Hit], Listed]:
        """The documents of both, in turns of a draft, and what is to be known of a click on them.
        Where the version beside cannot answer, the other's alone.
        """
        start = time.monotonic()
        mine, other = await asyncio.gather(
            now.search(asked), self._timed(asked), return_exceptions=True
        )
        if isinstance(mine, BaseException):
            raise mine
        if isinstance(other, BaseException):
            self.seen.left_out += 1
            return mine, Listed(asked.query, now.version, shown_of(mine))
        theirs, end = other
        ids, other_ids = ([hit[0] for hit in hits] for hits in (mine, theirs))
        self._compare(ids, other_ids, end - start)
        drafted = team_draft(ids, other_ids, asked.k, secrets.randbits(63))
        # The scores of the two may be on other scales: of one place, where both found a document.
        hit_of = {hit[0]: hit for hit in [*theirs, *mine]}
        hits = [hit_of[doc_id] for doc_id, _ in drafted]
        listed = Listed(
            asked.query,
            now.version,
            shown_of(hits),
            drafted,
            beside=self.served.version,
            closed=self._count,
        )
        return hits, listed

    async def _timed(self, asked: SearchAsked) -> tuple[list[Hit], float]:
        found = await self.served.search(asked)
        return found, time.monotonic()

    def _count(self, listed: Listed) -> None:
        """Who won a list that nobody can click any more."""
        won, wins = winner(listed.drafted, listed.clicked), self.wins
        self.wins = Wins(
            wins.now + (won == "now"), wins.beside + (won == "beside"), wins.ties + (won is None)
        )
        said = decision(self.wins)
        if self._decided is not None and said != "not decided yet":
            self._decided(self, said)

    def shadow(self, asked: SearchAsked, found: Sequence[Hit]) -> None:
        """Answer a search again, for nobody, soon."""
        if len(self._waiting) >= MOST_SHADOWS:
            self.seen.left_out += 1
            return
        self._waiting.append((asked, [hit[0] for hit in found]))
        if self._work is None:
            self._work = asyncio.create_task(self._answer_shadows())

    async def _answer_shadows(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S if len(self._waiting) < TOGETHER else 0)
                some, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                await self._answer_together(some)
        finally:
            self._work = None

    async def _answer_together(self, some: Sequence[tuple[SearchAsked, list[str]]]) -> None:
        start = time.monotonic()
        try:
            lists = await self.served.found_ids([asked for asked, _ in some])
        except Exception:  # a text that it cannot encode, or too much waits: nobody asked for it
            self.seen.left_out += len(some)
            return
        each_s = (time.monotonic() - start) / len(some)
        for (_, ids), other_ids in zip(some, lists, strict=True):
            self._compare(ids, other_ids, each_s)

    def _compare(self, ids: Sequence[str], other_ids: Sequence[str], seconds: float) -> None:
        changed = len(set(ids) - set(other_ids)) / max(1, len(ids))
        self.seen.searches += 1
        self.seen.changed += changed
        self.seen.seconds += seconds
        self._compared(changed, seconds)


def shown_of(found: Sequence[Hit]) -> tuple[Shown, ...]:
    """An answer's documents and scores, without texts."""
    return tuple(Shown(doc_id, score) for doc_id, score, _ in found)
