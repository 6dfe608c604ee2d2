"""Texts of many requests become vectors together.

One thread encodes. While it does, requests wait; then as many of their texts as fill a forward pass
go together. Each request gives a few at a time, in turn, so that a short one does not wait for all
of a long one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from whet.errors import WhetError

PIECE = 32  # texts that a request gives at a time
CHARS = 3  # per token, about: a batch is filled by it, and cut by the tokens themselves
BATCH_TOKENS = 8192

# texts of one kind to vectors [N, D], and how many tokens each has [N]
Encode = Callable[[list[str], str], tuple[np.ndarray, np.ndarray]]


class Busy(Exception):
    """Too many texts wait; in `after_s` seconds there may be room."""

    def __init__(self, after_s: int) -> None:
        super().__init__(f"Too much waits already. Ask again in {after_s} s.")
        self.after_s = after_s


@dataclass(eq=False)
class _Waiting:
    """The texts of a request, and what is known of them so far."""

    texts: Sequence[str]
    kind: str
    answer: asyncio.Future[tuple[np.ndarray, int]]
    vectors: list[np.ndarray] = field(default_factory=list)
    tokens: int = 0
    given: int = 0  # texts that were encoded, or are


class Batches:
    """What waits to be encoded. Everything but `encode` happens in the event loop's thread."""

    def __init__(
        self,
        encode: Encode,
        *,
        most_waiting: int,
        encoded: Callable[[int, float], None] = lambda texts, seconds: None,
    ) -> None:
        """`encoded` is told of each batch: texts and seconds."""
        self._encode, self._most, self._encoded = encode, most_waiting, encoded
        self._thread = ThreadPoolExecutor(1, "encode")
        self._asked: deque[_Waiting] = deque()
        self._work: asyncio.Task[None] | None = None
        self._text_s = 0.01  # seconds per text, as measured lately
        self.waiting = 0  # texts

    async def vectors(self, texts: Sequence[str], kind: str) -> tuple[np.ndarray, int]:
        """Vectors float32 [N, D] of texts of a kind, query or document, and their tokens in all.

        Raises Busy where too many wait, and the WhetError of a text that cannot be encoded.
        """
        # A request larger than all room is taken where nothing waits: it would never be.
        if self.waiting and self.waiting + len(texts) > self._most:
            raise Busy(max(1, round(self.waiting * self._text_s)))
        asked = _Waiting(texts, kind, asyncio.get_running_loop().create_future())
        self.waiting += len(texts)
        self._asked.append(asked)
        if self._work is None:
            self._work = asyncio.create_task(self._encode_all())
        return await asked.answer

    async def _encode_all(self) -> None:
        try:
            while self._asked:
                pieces = self._next_pieces()
                if pieces:
                    await self._encode_pieces(pieces)
        finally:
            self._work = None

    def _next_pieces(self) -> list[tuple[_Waiting, list[str]]]:
        """Pieces of the requests in turn, of one kind, until a batch is full."""
        pieces: list[tuple[_Waiting, list[str]]] = []
        aside: list[_Waiting] = []
        room = BATCH_TOKENS * CHARS
        while self._asked and room > 0:
            asked = self._asked.popleft()
            if asked.answer.done():  # it failed, or nobody waits for it any more
                self.waiting -= len(asked.texts) - asked.given
            elif pieces and asked.kind != pieces[0][0].kind:
                aside.append(asked)
            else:
                texts = list(asked.texts[asked.given : asked.given + PIECE])
                asked.given += len(texts)
                room -= sum(map(len, texts)) + len(texts)
                pieces.append((asked, texts))
                if asked.given < len(asked.texts):
                    self._asked.append(asked)
        self._asked.extendleft(reversed(aside))  # the next batch is theirs
        return pieces

    async def _encode_pieces(self, pieces: list[tuple[_Waiting, list[str]]]) -> None:
        together = [text for _, texts in pieces for text in texts]
        start = time.monotonic()
        try:
            vector_ND, tokens_N = await self._in_thread(together, pieces[0][0].kind)
        except Exception as error:
            await self._one_by_one(pieces, error)
        else:
            self._text_s = (time.monotonic() - start) / len(together)
            self._encoded(len(together), time.monotonic() - start)
            place = 0
            for asked, texts in pieces:
                span = slice(place, place + len(texts))
                _answer(asked, vector_ND[span], tokens_N[span])
                place = span.stop
        finally:
            self.waiting -= len(together)

    async def _one_by_one(self, pieces: list[tuple[_Waiting, list[str]]], first: Exception) -> None:
        """Only the request whose text is at fault may fail by it."""
        for asked, texts in pieces:
            error = first
            if len(pieces) > 1 and isinstance(first, WhetError):
                try:
                    _answer(asked, *await self._in_thread(texts, asked.kind))
                    continue
                except Exception as own:
                    error = own
            if not asked.answer.done():
                asked.answer.set_exception(error)

    async def _in_thread(self, texts: list[str], kind: str) -> tuple[np.ndarray, np.ndarray]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._encode, texts, kind)


def _answer(asked: _Waiting, vector_ND: np.ndarray, tokens_N: np.ndarray) -> None:
    asked.vectors.append(vector_ND)
    asked.tokens += int(tokens_N.sum())
    if sum(map(len, asked.vectors)) == len(asked.texts) and not asked.answer.done():
        asked.answer.set_result((np.concatenate(asked.vectors), asked.tokens))
