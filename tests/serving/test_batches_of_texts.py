"""Requests that are encoded together get what they would get alone, in turn, and none fails by
another's text.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.errors import ConfigError
from whet.serving import batches
from whet.serving.batches import PIECE, Batches, Busy


def vector(text: str, kind: str) -> list[float]:
    return [float(len(text)), float(sum(map(ord, text))), float(kind == "query")]


class Encoding:
    """Vectors told from texts; keeps what was encoded together, and waits where it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], str]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, texts: list[str], kind: str) -> tuple[np.ndarray, np.ndarray]:
        self.go_on.wait(10)
        self.calls.append((texts, kind))
        if "bad" in texts:
            raise ConfigError("a bad text")
        if "broken" in texts:
            raise RuntimeError("a driver")
        rows = [vector(text, kind) for text in texts]
        return np.array(rows, np.float32), np.array([len(text) for text in texts])


REQUESTS = st.lists(
    st.tuples(
        st.lists(st.text("abc", max_size=8), min_size=1, max_size=3 * PIECE),
        st.sampled_from(["query", "document"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=40)
@given(REQUESTS, st.integers(1, 400))
def test_each_request_gets_its_own_vectors(
    requests: list[tuple[list[str], str]], room: int
) -> None:
    encoding = Encoding()

    async def ask_all() -> list[tuple[np.ndarray, int]]:
        waiting = Batches(encoding, most_waiting=10_000)
        answers = await asyncio.gather(*(waiting.vectors(*request) for request in requests))
        assert waiting.waiting == 0
        return answers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BATCH_TOKENS", room)
        answers = asyncio.run(ask_all())
    for (texts, kind), (vector_ND, tokens) in zip(requests, answers, strict=True):
        assert vector_ND.tolist() == [vector(text, kind) for text in texts]
        assert tokens == sum(map(len, texts))
    assert sum(len(texts) for texts, _ in encoding.calls) == sum(len(t) for t, _ in requests)


def test_a_short_request_does_not_wait_for_all_of_a_long_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "BATCH_TOKENS", 1)  # a piece at a time
    encoding, order = Encoding(), []

    async def ask(waiting: Batches, texts: Sequence[str]) -> None:
        await waiting.vectors(texts, "query")
        order.append(len(texts))

    async def ask_both() -> None:
        waiting = Batches(encoding, most_waiting=10_000)
        await asyncio.gather(ask(waiting, ["long"] * 10 * PIECE), ask(waiting, ["short"]))

    asyncio.run(ask_both())
    assert order == [1, 10 * PIECE]


@pytest.mark.parametrize(("text", "error"), [("bad", ConfigError), ("broken", RuntimeError)])
def test_a_text_at_fault_fails_its_own_request(text: str, error: type[Exception]) -> None:
    encoding = Encoding()

    async def ask_all() -> list[object]:
        waiting = Batches(encoding, most_waiting=100)
        requests = [["fine"], ["fine", text], ["also fine"]]
        answers = await asyncio.gather(
            *(waiting.vectors(texts, "query") for texts in requests), return_exceptions=True
        )
        assert waiting.waiting == 0
        again, _ = await waiting.vectors(["fine"], "query")
        assert again.tolist() == [vector("fine", "query")]
        return answers

    answers = asyncio.run(ask_all())
    assert isinstance(answers[1], error)
    if error is ConfigError:  # a text's; what is wrong with the machine is wrong for all
        assert not isinstance(answers[0], Exception) and not isinstance(answers[2], Exception)


def test_too_many_are_told_when_to_come_again() -> None:
    encoding = Encoding()
    encoding.go_on.clear()

    async def ask() -> None:
        waiting = Batches(encoding, most_waiting=10)
        first = asyncio.create_task(waiting.vectors(["a"] * 12, "query"))  # alone: it may
        await asyncio.sleep(0)
        with pytest.raises(Busy, match=r"Ask again in \d+ s") as busy:
            await waiting.vectors(["b"], "query")
        assert busy.value.after_s >= 1
        encoding.go_on.set()
        assert len((await first)[0]) == 12
        assert len((await waiting.vectors(["b"], "query"))[0]) == 1

    asyncio.run(ask())


def test_who_left_is_not_encoded_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_TOKENS", 1)  # a piece at a time
    encoding = Encoding()
    encoding.go_on.clear()

    async def ask() -> None:
        waiting = Batches(encoding, most_waiting=1000)
        gone = asyncio.create_task(waiting.vectors(["gone"] * 3 * PIECE, "query"))
        await asyncio.sleep(0.05)
        gone.cancel()
        encoding.go_on.set()
        await waiting.vectors(["here"], "document")
        assert waiting.waiting == 0

    asyncio.run(ask())
    assert sum(texts.count("gone") for texts, _ in encoding.calls) < 3 * PIECE
