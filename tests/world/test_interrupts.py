"""Ctrl-C counted: the first asks, later ones insist, and the handlers of before come back."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whet.processes.interrupts import ANY, CTRL_C, Interrupts


def send(number: int) -> None:
    """A signal to this process, handled before the next line."""
    os.kill(os.getpid(), number)


@given(st.lists(st.sampled_from(ANY), max_size=5))
def test_the_first_asks_and_later_ones_insist(numbers: list[signal.Signals]) -> None:
    calls: list[str] = []
    with Interrupts(lambda: calls.append("ask"), lambda: calls.append("insist")) as interrupts:
        for number in numbers:
            send(number)
    assert interrupts.received == list(numbers)
    assert calls == (["ask"] + ["insist"] * len(numbers))[: len(numbers)]


def test_a_handler_may_end_the_block_and_the_signals_are_given_back() -> None:
    def end() -> None:
        raise KeyboardInterrupt("runs/now")

    before = [signal.getsignal(number) for number in ANY]
    with pytest.raises(KeyboardInterrupt, match="runs/now"), Interrupts(again=end):  # noqa: PT012
        send(signal.SIGINT)
        send(signal.SIGTERM)
    assert [signal.getsignal(number) for number in ANY] == before


def test_only_what_is_listened_to_is_taken() -> None:
    with Interrupts(signals=CTRL_C):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_closed_twice_it_leaves_alone_what_came_since() -> None:
    interrupts = Interrupts()
    interrupts.listen()
    interrupts.close()
    later = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupts.close()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, later)
