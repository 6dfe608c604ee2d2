"""A small file that is damaged, foreign or no file is refused in one line that names it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.errors import CheckpointError, DataError
from whet.storage.readable import readable_json, readable_text, readable_yaml

REMEDY = "Bring back a copy."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no JSON (line 1, column 1)"),
        (b'{"a": 1', "no JSON (line 1, column 8)"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"[1]", "it should hold an object, and holds a list"),
        (b"null", "it should hold an object, and holds nothing"),
        (b"[" * 200_000, "is nested too deep to be read"),
        (b'{"a":' * 100_000, "is nested too deep to be read"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "origin.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        readable_json(path, remedy=REMEDY)
    message = str(refused.value)
    assert message.startswith(str(path)) and reason in message and message.endswith(REMEDY)
    assert "\n" not in message


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, reason in {"fifo": "no ordinary", ".": "no ordinary", "none": "missing"}.items():
        with pytest.raises(DataError, match=reason):
            readable_text(tmp_path / name, remedy=REMEDY, error=DataError)
    with pytest.raises(CheckpointError, match="no name"):
        readable_text(tmp_path / "a\0b", remedy=REMEDY)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="is the most"):
        readable_text(path, remedy=REMEDY)


@pytest.mark.parametrize("text", ["{", "\0", "a: [", "!!python/object/apply:os.getcwd []", "- 1"])
def test_yaml_holds_plain_values_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.yaml is damaged"):
        readable_yaml(path, remedy=REMEDY)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_what_is_whole_is_read(tmp_path_factory: pytest.TempPathFactory, value: dict) -> None:
    path = tmp_path_factory.mktemp("whole") / "a.json"
    path.write_text(json.dumps(value))
    assert readable_json(path, remedy=REMEDY) == value
