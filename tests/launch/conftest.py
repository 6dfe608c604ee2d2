"""A stand-in for the last call of a verb: it keeps the configuration it gets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from clusters import Cluster

from whet_launch.cli.main import main
from whet_launch.cli.verbs import VERBS


class Calls(list[Any]):
    """The configurations the verbs' functions got; `answer` is what they do with it."""

    answer: Callable[[Any], Any] = staticmethod(lambda config: None)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """Stand-ins for the functions behind the verbs; the working directory is an empty folder."""
    kept = Calls()

    def keep(config: Any) -> Any:
        kept.append(config)
        return kept.answer(config)

    stand_in = ModuleType("stand_in")
    stand_in.keep = keep  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stand_in", stand_in)
    for name in ("fit", "mine", "encode", "eval", "label", "plan"):
        monkeypatch.setitem(VERBS, name, replace(VERBS[name], function="stand_in:keep"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WHET_DEBUG", raising=False)
    return kept


@pytest.fixture
def whet(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`whet("fit", "seed=1")` -> (exit code, standard output, standard error)."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Ray cluster of two nodes with one CPU each."""
    nodes = Cluster()
    try:
        nodes.join()
        yield nodes
    finally:
        nodes.shutdown()
