"""Words of the command line become overrides that Hydra reads as they were meant."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from whet.errors import ConfigError
from whet_launch.cli.overrides import to_hydra
from whet_launch.cli.verbs import VERBS


def _read(words: list[str]) -> list[object]:
    return [override.value() for override in OverridesParser.create().parse_overrides(words)]


@pytest.mark.parametrize(
    ("word", "becomes"),
    [
        ("data=my/data", "data.path='my/data'"),
        ("my/data", "data.path='my/data'"),
        ("data=nl2bash", "data=nl2bash"),
        ("data=./nl2bash", "data.path='./nl2bash'"),
        ("data=[./a,./b c]", "data.path='[./a,./b c]'"),
        ("[./a,./b]", "data.path='[./a,./b]'"),
        ("data.path=[a,b]", "data.path='[a,b]'"),
        ("data.weights=[2,1]", "data.weights=[2,1]"),
        ("model=bge_small", "model=bge_small"),
        ("model=BAAI/bge-small-en-v1.5", "model.name='BAAI/bge-small-en-v1.5'"),
        ("+experiment=demo", "+experiment=demo"),
        ("mining=off", "mining=off"),
        ("seed=1", "seed=1"),
        ("output=null", "output=null"),
        ("output=2024", "output='2024'"),
        ("output=~/run", f"output='{Path.home()}/run'"),
        ("hydra.verbose=true", "hydra.verbose=true"),
        ("evaluate.measures=[nDCG@10]", "evaluate.measures=[nDCG@10]"),
    ],
)
def test_words_become_overrides(word: str, becomes: str) -> None:
    assert to_hydra(VERBS["fit"], [word]) == [becomes]


@pytest.mark.parametrize(
    ("verb", "word", "becomes"),
    [
        ("check", "data", "data.path='data'"),
        ("fit", "seed", "data.path='seed'"),
        ("bundle", "run", "run='run'"),
        ("export", "model", "model.name='model'"),
        ("check", "runs/lr=0.1/data", "data.path='runs/lr=0.1/data'"),
    ],
)
def test_what_is_a_folder_here_is_meant_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, word: str, becomes: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        to_hydra(VERBS[verb], [word])
    Path(word).mkdir(parents=True)
    assert to_hydra(VERBS[verb], [word]) == [becomes]


def test_a_folder_does_not_stand_for_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("seed=1", "suite", "name"):
        Path(name).mkdir()
    assert to_hydra(VERBS["fit"], ["seed=1"]) == ["seed=1"]
    for verb, word in (("bench", "suite"), ("logs", "name")):  # no paths
        with pytest.raises(ConfigError, match=f"Write {word}=VALUE"):
            to_hydra(VERBS[verb], [word])


TEXT = st.text(
    st.sampled_from(string.ascii_letters + string.digits + " ,=:'\"\\/()[]{}~.$%é-+"), min_size=1
)


@given(TEXT.filter(lambda text: text != "null" and "${" not in text and text[0] not in "~{"))
def test_hydra_reads_text_as_it_was_typed(text: str) -> None:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if not quoted:  # text in quotes is already in Hydra's grammar
        assert _read(to_hydra(VERBS["fit"], [f"model.query_prompt={text}"])) == [text]


def test_a_sweep_splits_at_commas() -> None:
    words = to_hydra(VERBS["fit"], ["-m", "data=a b,c", "mining.sampling=top,random"])
    assert words == ["-m", "data.path='a b','c'", "mining.sampling='top','random'"]
