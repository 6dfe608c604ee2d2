"""The worked examples in docstrings, run: what they show is what comes out."""

from __future__ import annotations

import doctest
import importlib

import pytest
from source import Source, sources

WITH_EXAMPLES = [source for source in sources() if ">>> " in source.text]


@pytest.mark.parametrize("source", WITH_EXAMPLES, ids=lambda source: source.path)
def test_examples(source: Source) -> None:
    parts = source.path.removesuffix(".py").removesuffix("/__init__").split("/")
    try:
        module = importlib.import_module(".".join(parts[1:]))  # without the source root
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("whet"):
            raise
        pytest.skip(f"{error.name} is not installed")
    outcome = doctest.testmod(module)
    assert outcome.attempted, "its examples are where doctest does not find them"
    assert not outcome.failed
