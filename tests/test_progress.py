"""Where people see progress: a terminal, a cell of a notebook, a log."""

from __future__ import annotations

import io
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from whet.progress import paragraph, say, track


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for Jupyter: what a cell shows, state by state."""
    shown: list[str] = []
    shell = type("ZMQInteractiveShell", (), {})()
    python, display = ModuleType("IPython"), ModuleType("IPython.display")
    python.get_ipython = lambda: shell  # type: ignore[attr-defined]
    display.HTML = str  # type: ignore[attr-defined]

    def show(text: str, display_id: bool) -> Any:
        shown.append(text)
        return SimpleNamespace(update=shown.append)

    display.display = show  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_notebook_has_a_bar_that_ends_as_a_line(
    cell: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("whet.progress.CELL_EVERY_S", 0.0)
    with track("Reading <a>", 4, "texts") as advance:
        advance(1, loss=0.5)
        advance(3)
    assert cell[0] == "Reading &lt;a&gt;"
    assert cell[1].startswith('<progress value="1" max="4"></progress> Reading &lt;a&gt;: 1 of 4')
    assert "loss 0.5" in cell[1]
    assert cell[-1].startswith("Reading &lt;a&gt;: 4 of 4 texts, ") and "progress" not in cell[-1]
    say("done")
    assert capsys.readouterr() == ("done\n", "")  # stderr would be red


def test_elsewhere_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("done")
    assert capsys.readouterr() == ("", "done\n")


def test_a_sentence_is_wrapped_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The change may be chance (p = 0.88; 3 of 11 queries won, 1 lost)."
    pipe, terminal = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("COLUMNS", "40")
    assert paragraph(text, pipe) == text
    lines = paragraph(text, terminal).splitlines()
    assert " ".join(lines) == text and len(lines) > 1 and max(map(len, lines)) < 40


def test_one_thing_has_no_rate_and_slow_ones_a_rate_that_is_not_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("whet.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    for title, total, unit in (("Writing ONNX", 1, "file"), ("Searching", 6, "tiles")):
        with track(title, total, unit) as advance:
            now[0] += 40.0
            advance(1)
            advance(total - 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Writing ONNX: 1 of 1 file, 40.0 s",
        "Searching: 1 of 6 tiles, 1.5 tiles/min, 200 s left",
        "Searching: 6 of 6 tiles, 9.0 tiles/min, 40.0 s",
    ]
