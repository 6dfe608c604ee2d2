"""What a terminal is given: nothing that steers it, and everything else as it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whet.printable import printable, printable_lines
from whet.progress import say

STEERING = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@given(st.text(st.characters(codec=None)))
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    assert not [c for c in printable(text) if unicodedata.category(c) in STEERING]


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_what_can_be_printed_stays(text: str) -> None:
    assert printable(text) == text


def test_the_usual_tricks_are_visible() -> None:
    assert printable("\x1b]0;title\x07") == "\\x1b]0;title\\x07"
    assert printable("id\ntwo\x9b31m\u202egnp\ud800") == "id\\ntwo\\x9b31m\\u202egnp\\ud800"


def test_lines_and_tabs_of_a_table_stay() -> None:
    assert printable_lines("a\tb\nc\x1b[2J\r\n") == "a\tb\nc\\x1b[2J\\r\n"


def test_what_is_said_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("Data: \x1b[2Ja\u202eb\nRun: c")
    assert capsys.readouterr().err == "Data: \\x1b[2Ja\\u202eb\nRun: c\n"
