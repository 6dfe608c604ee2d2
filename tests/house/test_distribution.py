"""Whatever tells people to install Whet names Whet, with an extra that exists."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator

import pytest
from source import ROOT

from whet.version import NAME, install_line

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
# what asks an index for a package called whet, however it is spelled
OF_ANOTHER = re.compile(
    r"(?:install|add|uvx|pipx run|-U|--upgrade) +[\"'`]?whet(?![\w-])|\bwhet\\?\[[a-z]"
)
EXTRAS_OF_OURS = re.compile(re.escape(NAME) + r"\\?\[([a-z0-9,-]+)\\?\]")
EXTRA_IN_A_CALL = re.compile(r"install_line\(\\?[\"']([a-z0-9-]+)")


def _lines() -> Iterator[tuple[str, str]]:
    """Every line of the repository's texts, with its place."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    for name in filter(None, listed.split("\0")):
        if name.startswith("tests/house/test_distribution") or not (ROOT / name).is_file():
            continue
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{name}:{number}", line


def test_the_package_has_the_name_that_is_told() -> None:
    assert PROJECT["name"] == NAME
    assert install_line() == "pip install whet-search"
    assert install_line("faiss") == 'pip install "whet-search[faiss]"'


def test_nothing_sends_anyone_to_the_other_package() -> None:
    assert [f"{place}: {line}" for place, line in _lines() if OF_ANOTHER.search(line)] == []


def test_every_extra_that_is_told_exists() -> None:
    unknown = [
        f"{place}: {extra}"
        for place, line in _lines()
        for found in (*EXTRAS_OF_OURS.findall(line), *EXTRA_IN_A_CALL.findall(line))
        for extra in found.split(",")
        if extra not in EXTRAS
    ]
    assert unknown == []


@pytest.mark.parametrize(
    "line",
    [
        "pip install whet",
        "pip install whet.",
        'pip install "whet[label]"',
        "uv add whet",
        "Run `pip install -U whet`",
        r'match=r"whet\[sign\]"',
    ],
)
def test_the_other_name_is_seen(line: str) -> None:
    assert OF_ANOTHER.search(line)
