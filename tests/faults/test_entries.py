"""A function that the tests of faults disturb must be there: else they disturb nothing."""

import importlib
import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ENTRY = re.compile(r'"([a-z][\w.]*):(\w+(?:\.\w+)*)"')


def entries() -> list[tuple[str, str]]:
    """Every function that a file of this folder names."""
    return sorted({pair for path in HERE.glob("*.py") for pair in ENTRY.findall(path.read_text())})


@pytest.mark.parametrize(("module", "path"), entries())
def test_what_is_to_be_disturbed_is_there(module: str, path: str) -> None:
    owner = importlib.import_module(module)
    for name in path.split("."):
        owner = getattr(owner, name)
    assert callable(owner)


def test_names_are_seen() -> None:
    assert ("whet.verbs.judging", "judge") in entries()
