"""Names of programs are found by their parts, and texts without names count as they did."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whet.evaluation.lexical import Words
from whet.evaluation.lexical.languages import stems, word_ids
from whet.evaluation.lexical.name_parts import with_parts

PARTS = [
    ("getFileName", "get File Name"),
    ("read_all", "read all"),
    ("__init__", "init"),
    ("readXMLFile", "read XML File"),
    ("größe_maxWert", "größe max Wert"),
    ("base64_encode", "base64 encode"),
    ("utf8ToUtf16", "utf8 To Utf16"),
]


@pytest.mark.parametrize(("name", "parts"), PARTS)
def test_a_name_stands_before_its_parts(name: str, parts: str) -> None:
    assert with_parts(f"a {name}(b)").split() == ["a", *f"{name} {parts}(b)".split()]


@pytest.mark.parametrize("word", ["file", "HTTP", "GPUs", "Größe", "v2", "नमस्ते", "内存", ""])
def test_what_is_no_name_stays(word: str) -> None:
    assert with_parts(f"{word}, {word}.") == f"{word}, {word}."


@given(st.text(st.sampled_from("abXY_9 ü.内"), max_size=30))
def test_all_words_are_kept_and_parts_have_no_joint(text: str) -> None:
    words = re.findall(r"\w+", with_parts(text))
    for word in re.findall(r"\w+", text):
        words.remove(word)
    assert not any("_" in part or re.search("[a-z][A-Z]", part) for part in words)
    assert with_parts(text).replace(" ", "").count(".") == text.count(".")


def test_a_document_of_code_is_found_by_what_its_names_say() -> None:
    words = Words(["def writeBoolean(self):", "def read_all_lines(path):", "a boolean circuit"])
    scores_QN = words.scores(["write booleans", "line", "read_all_lines"])
    assert scores_QN[0].argmax() == 0 and scores_QN[0, 2] > 0
    assert scores_QN[1].argmax() == 1
    assert scores_QN[2].argmax() == 1  # its parts and the name itself
    assert stems(["writeBoolean"]) == [["writeboolean", "write", "boolean"]]
    assert set(word_ids(["writeBoolean is_file"])[1]) == {"writeboolean", "is_fil"}


@pytest.mark.parametrize("word", ["a", "aB", "_", "a_", "Ab "])
def test_a_long_text_without_spaces_is_read_once(word: str) -> None:
    """Were each letter looked at from each place before it, this would take days."""
    assert len(with_parts(word * 1_000_000)) >= 1_000_000
