"""An encoder per side: each text by its own, one folder, and nothing of another dimension."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whet.config import ModelConfig
from whet.errors import CheckpointError, ConfigError, UnsupportedModel
from whet.model.encoder import Encoder
from whet.model.parts.layout import ROUTER
from whet.model.parts.words import WORDS, words_of_whole
from whet.model.towers import Towers, open_model, tell_vectors_alone

TEXTS = ["bace difo", "guka " * 40, ""]


@pytest.fixture(scope="module")
def towers(tiny_model: Path) -> Towers:
    """The query side has a prompt and a matrix of its own, and another pooling."""
    query = Encoder.load(ModelConfig(str(tiny_model), query_prompt="zu ", pooling="cls"))
    query.with_matrix(torch.randn(32, 32, generator=torch.Generator().manual_seed(2)))
    return Towers(query, Encoder.load(str(tiny_model)), words=0.25)


@pytest.fixture
def saved(towers: Towers, tmp_path: Path) -> Path:
    return towers.save(tmp_path / "towers", "# A card")


def test_each_side_encodes_its_own(towers: Towers) -> None:
    for kind, one in (("query", towers.query), ("document", towers.document)):
        assert towers.side(kind) is one
        assert np.array_equal(towers.encode(TEXTS, kind=kind), one.encode(TEXTS, kind=kind))
    assert np.array_equal(towers.encode(TEXTS), towers.document.encode(TEXTS))
    assert not np.allclose(towers.query.encode(TEXTS), towers.document.encode(TEXTS), atol=0.1)


def test_what_is_saved_opens_as_it_was(towers: Towers, saved: Path) -> None:
    again = open_model(str(saved))
    assert isinstance(again, Towers) and again.words == 0.25
    assert again.fingerprint() == towers.fingerprint()
    for kind in ("query", "document"):
        assert again.side(kind).recipe == towers.side(kind).recipe
        assert np.array_equal(again.encode(TEXTS, kind=kind), towers.encode(TEXTS, kind=kind))
    assert (saved / "README.md").read_text() == "# A card"
    with pytest.raises(ConfigError, match=r"exists already\. Choose another folder"):
        towers.save(saved)


def test_sides_that_change_places_are_another_model(towers: Towers) -> None:
    prints = {
        Towers(query, document).fingerprint()
        for query in (towers.query, towers.document)
        for document in (towers.query, towers.document)
    }
    assert len(prints) == 4
    assert towers.fingerprint() == Towers(towers.query, towers.document).fingerprint()


def test_both_sides_must_have_one_dimension(towers: Towers) -> None:
    with pytest.raises(ConfigError, match="queries become 384 numbers and documents 32"):
        Towers(Encoder.load("minilm"), towers.document)


def test_one_encoder_is_opened_as_one(tiny_model: Path, saved: Path) -> None:
    assert isinstance(open_model(str(tiny_model)), Encoder)
    with pytest.raises(ConfigError, match="has an encoder for queries of its own"):
        Encoder.load(str(saved))


@pytest.mark.parametrize("weight", [-0.1, True, "much", None, float("inf"), float("nan")])
def test_a_weight_of_words_that_is_none_is_refused(saved: Path, weight: Any) -> None:
    (saved / WORDS).write_text(json.dumps({"weight": weight}))
    with pytest.raises(CheckpointError, match=r"words\.json is damaged: no weight"):
        open_model(str(saved))


def test_one_encoder_has_words_and_their_language_too(tiny_model: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    encoder.words, encoder.language = 0.3, "german"
    folder = encoder.save(tmp_path / "one")
    again = open_model(str(folder))
    assert isinstance(again, Encoder) and (again.words, again.language) == (0.3, "german")
    whole = Towers(again, again, 0.2).save(tmp_path / "two")
    assert [path.parent for path in whole.rglob(WORDS)] == [whole]
    side = whole / "query_0_Transformer"
    assert words_of_whole(side) == words_of_whole(whole) == (0.2, "english")
    assert open_model(str(side)).words == 0  # a side alone searches by vectors
    (folder / WORDS).write_text('{"weight": 0.3, "language": "klingon"}')
    with pytest.raises(CheckpointError, match="is no language that Whet knows"):
        open_model(str(folder))


def test_words_that_do_not_count_leave_no_file(towers: Towers, tmp_path: Path) -> None:
    plain = Towers(towers.document, towers.document)
    folder = plain.save(tmp_path / "plain")
    again = open_model(str(folder))
    assert isinstance(again, Towers)
    assert not (folder / WORDS).exists() and again.words == 0


def test_vectors_without_their_words_are_told(
    towers: Towers, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_vectors_alone(towers.document)
    tell_vectors_alone(Towers(towers.query, towers.document))
    assert capsys.readouterr().err == ""
    tell_vectors_alone(towers)
    assert "add words in common (BM25) with weight 0.25" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("routes", "error", "words"),
    [
        ({"query": ["query_0_Transformer"]}, UnsupportedModel, "its routes are query"),
        ({"query": [], "document": ["x"]}, ConfigError, "a route is no list of names"),
        ({"query": [""], "document": ["x"]}, ConfigError, "\"types\" has no class for ''"),
        ({"query": ["../x"], "document": ["x"]}, ConfigError, "leads out of the model's folder"),
        ("query", ConfigError, 'it should hold "structure"'),
    ],
)
def test_routes_of_another_kind_are_refused(
    saved: Path, routes: Any, error: type[Exception], words: str
) -> None:
    said = json.loads((saved / ROUTER).read_text())
    (saved / ROUTER).write_text(json.dumps({**said, "structure": routes}))
    with pytest.raises(error, match=words):
        open_model(str(saved))


def test_what_a_folder_lacks_is_drawn_alike(tiny_model: Path, tmp_path: Path) -> None:
    """A pooler that was not saved decides no vector; a model saved again has it all the same."""
    saved = []
    for number in range(2):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        folder = open_model(str(tiny_model)).save(tmp_path / str(number))
        assert torch.equal(torch.get_rng_state(), before)
        saved.append((folder / "model.safetensors").read_bytes())
    assert saved[0] == saved[1] and b"pooler" in saved[0]
