"""What decides a vector: the text, its prompt and the recipe, and nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.config import EncodeConfig, ModelConfig
from whet.errors import ConfigError
from whet.model.encoder import Encoder
from whet.model.folder import write_recipe
from whet.model.inference import token_batches
from whet.model.parts.layers import IDENTITY, Dense
from whet.model.parts.layout import read_layout
from whet.model.parts.recipe import Recipe, read_recipe, text_reading
from whet.model.pooling import POOLINGS

WORDS = "bace difo guka lemi nopu rase tivo zu x 7 !".split()
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join), max_size=7)
few = settings(deadline=None, max_examples=12)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model))


@pytest.fixture(scope="module")
def exact(tiny_model: Path) -> Any:
    """The transformer in float64, by itself."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(tiny_model, attn_implementation="eager").double().eval()


def oracle(exact: Any, encoder: Encoder, text: str, kind: str) -> np.ndarray:
    """A text's vector by the recipe, in float64, alone and without padding."""
    recipe = encoder.recipe
    ids = encoder.tokenizer(recipe.prompt(kind) + text)["input_ids"]
    if len(ids) > recipe.max_length:
        ids = [*ids[: recipe.max_length - 1], ids[-1]]
    with torch.no_grad():
        token_LD = exact(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    vector_D = {"mean": token_LD.mean(0), "cls": token_LD[0], "last": token_LD[-1]}[recipe.pooling]
    if encoder.matrix is not None:
        vector_D = encoder.matrix.weight.detach().double().numpy() @ vector_D
    return vector_D / np.sqrt((vector_D**2).sum()) if recipe.normalize else vector_D


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@few
@given(
    TEXTS, st.booleans(), st.integers(3, 32), st.integers(1, 90), st.sampled_from(["", "zu: "]),
    st.sampled_from(["query", "document"]), st.integers(0, 1),
)  # fmt: skip
def test_every_text_has_the_vector_it_has_alone_in_float64(
    encoder: Encoder, exact: Any, pooling: str, texts: list[str], normalize: bool, length: int,
    budget: int, prompt: str, kind: str, matrix: int,
) -> None:  # fmt: skip
    """Whatever its batch, its place in it, the prompt, the length and the layers after."""
    recipe = Recipe(pooling, normalize, length, prompt, "")
    one = Encoder(encoder.backbone, encoder.tokenizer, recipe, encoder.source)
    if matrix:
        one.with_matrix(torch.randn(32, 32, generator=torch.Generator().manual_seed(length)))
    found_ND = one.encode(texts, kind=kind, config=EncodeConfig(batch_tokens=budget))
    assert found_ND.shape == (len(texts), 32) and found_ND.dtype == np.float32
    for text, found_D in zip(texts, found_ND, strict=True):
        wanted_D = oracle(exact, one, text, kind)
        assert np.abs(found_D - wanted_D).max() < 2e-6 * max(1, np.abs(wanted_D).max())


def test_what_lies_beyond_the_length_counts_for_nothing(encoder: Encoder) -> None:
    one = Encoder(encoder.backbone, encoder.tokenizer, encoder.recipe, encoder.source)
    one.recipe = replace(encoder.recipe, max_length=10, document_prompt="zu zu ")
    (ids,) = one.tokenize(["bace " * 50], "document")
    assert len(ids) == 10 and ids[0] == one.tokenizer.cls_token_id
    assert ids[-1] == one.tokenizer.sep_token_id
    six = "bace difo guka lemi nopu rase"  # with two of the prompt, and the two special ones
    first, longer, other = one.encode([six, f"{six} tivo", "tivo" + six[4:]])
    assert np.array_equal(first, longer) and not np.allclose(first, other, atol=1e-3)


def test_a_prompt_is_text_in_front(encoder: Encoder) -> None:
    one = Encoder(encoder.backbone, encoder.tokenizer, encoder.recipe, encoder.source)
    one.recipe = replace(encoder.recipe, query_prompt="bace ", document_prompt="difo ")
    texts = ["guka", "lemi nopu"]
    for kind, prompt in (("query", "bace "), ("document", "difo ")):
        plain = encoder.encode([prompt + text for text in texts], kind=kind)
        assert np.array_equal(one.encode(texts, kind=kind), plain)
    assert np.array_equal(one.encode(texts), one.encode(texts, kind="document"))
    with pytest.raises(ConfigError, match=r"kind='passage' is unknown\. Say 'query'"):
        one.encode(texts, kind="passage")


def test_a_model_in_training_encodes_as_at_rest_and_goes_on_training(tiny_model: Path) -> None:
    encoder, counted = Encoder.load(str(tiny_model)), []
    texts = ["bace difo", "guka", "lemi " * 9]
    rested = encoder.encode(texts)
    encoder.train()
    assert np.array_equal(encoder.encode(texts), rested) and encoder.training
    assert encoder.backbone.training and not Encoder.load(str(tiny_model)).training
    from whet.model.inference import encode_texts

    encode_texts(encoder, texts, "query", EncodeConfig(batch_tokens=12), counted.append)
    assert sum(counted) == 3 and len(counted) > 1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 200))
def test_batches_go_from_long_to_short_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = [batch.tolist() for batch in token_batches(lengths, budget)]
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    in_turn = [lengths[row] for batch in batches for row in batch]
    assert in_turn == sorted(lengths, reverse=True)
    for batch in batches:
        room = max(1, budget // max(1, lengths[batch[0]]))
        assert len(batch) == room or (batch is batches[-1] and len(batch) < room)


CHANGES: dict[str, dict[str, Any]] = {
    "pooling": {"pooling": "cls"},
    "normalisation": {"normalize": False},
    "length": {"max_length": 31},
    "query prompt": {"query_prompt": "x"},
    "document prompt": {"document_prompt": "x"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_fingerprint_follows_the_recipe(encoder: Encoder, tiny_model: Path, what: str) -> None:
    other = Encoder.load(ModelConfig(str(tiny_model), **CHANGES[what]))
    assert other.fingerprint() != encoder.fingerprint()


def test_the_fingerprint_follows_the_tokenizer_and_the_matrix(
    encoder: Encoder, tiny_model: Path, tmp_path: Path
) -> None:
    """Two words that change places, capitals that are kept, a matrix; not dropout, nor the place,
    nor what the tokenizer cut before.
    """
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    assert Encoder.load(ModelConfig(str(folder), dropout=0.3)).fingerprint() == (
        encoder.fingerprint()
    )
    prints = {encoder.fingerprint()}
    said = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = said["model"]["vocab"]
    vocabulary["bace"], vocabulary["difo"] = vocabulary["difo"], vocabulary["bace"]
    (folder / "tokenizer.json").write_text(json.dumps(said))
    prints.add(Encoder.load(str(folder)).fingerprint())
    said = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(said | {"do_lower_case": False}))
    prints.add(Encoder.load(str(folder)).fingerprint())
    one = Encoder.load(str(tiny_model)).with_matrix(torch.eye(32))
    prints.add(one.fingerprint())
    one.tokenizer(["bace " * 60, "x"], truncation=True, max_length=5, padding=True)
    prints.add(one.fingerprint())
    assert len(prints) == 4


@settings(deadline=None, max_examples=10)
@given(
    st.lists(st.sampled_from(sorted(POOLINGS)), min_size=1, max_size=3, unique=True),
    st.booleans(), st.integers(1, 512), st.text(), st.text(), st.booleans(), st.booleans(),
    st.booleans(), st.none() | st.integers(1, 32), st.sampled_from(["cosine", "dot"]),
    st.dictionaries(st.sampled_from(["passage", "zu", ""]), st.just("x: ")),
)  # fmt: skip
def test_a_recipe_that_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, poolings: list[str], normalize: bool, length: int,
    query: str, document: str, matrix: bool, include: bool, lower: bool, cut: int | None,
    similarity: str, others: dict[str, str],
) -> None:  # fmt: skip
    """A document prompt of "" is taken from another name; vectors that are cut and of unit length
    are those of a cosine.
    """
    folder = tmp_path_factory.mktemp("recipe")
    similarity = ("cosine" if cut else similarity) if normalize else "dot"
    recipe = Recipe(
        "+".join(poolings), normalize, length, query, document or others.get("passage", ""),
        include, lower, cut, similarity, tuple(others.items()), next(iter(others), None),
    )  # fmt: skip
    layers = [Dense(32, 32, bias=False, activation=IDENTITY)] if matrix else []
    write_recipe(folder, recipe, 32, layers, text_reading(recipe))
    layout = read_layout(folder)
    assert read_recipe(layout, ModelConfig(str(folder)), longest=512) == recipe
    assert ("Dense" in dict(layout.after)) == matrix


def test_options_go_before_what_the_folder_says(tmp_path: Path) -> None:
    """An empty prompt is one that was given; a document prompt has three names."""
    recipe = Recipe("cls", True, 100, "q: ", "d: ")
    write_recipe(tmp_path, recipe, 32, [], text_reading(recipe))

    def read(**options: Any) -> Recipe:
        config = ModelConfig(str(tmp_path), **options)
        return read_recipe(read_layout(tmp_path), config, longest=128)

    assert read(pooling="last", max_length=128) == Recipe("last", True, 128, "q: ", "d: ")
    plain = Recipe("cls", False, 100, "", "d: ", similarity="dot")
    assert read(query_prompt="", normalize=False) == plain
    prompts = {"document": "", "passage": "p: ", "corpus": "c: "}
    said = json.dumps({"prompts": prompts})
    (tmp_path / "config_sentence_transformers.json").write_text(said)
    assert read().document_prompt == "p: " and read(document_prompt="x").document_prompt == "x"
    (tmp_path / "sentence_bert_config.json").unlink()
    assert read().max_length == 128
    (tmp_path / "modules.json").unlink()
    others = (("passage", "p: "), ("corpus", "c: "))
    assert read() == Recipe("mean", True, 128, "", "p: ", other_prompts=others)  # a plain one


def test_a_matrix_is_saved_and_read_back(tiny_model: Path, tmp_path: Path) -> None:
    texts = ["bace difo", "guka " * 40, ""]
    one = Encoder.load(ModelConfig(str(tiny_model), query_prompt="zu "))
    one.with_matrix(torch.randn(32, 32, generator=torch.Generator().manual_seed(1)))
    folder = one.save(tmp_path / "saved")
    again = Encoder.load(str(folder))
    assert again.fingerprint() == one.fingerprint() and again.matrix is not None
    for kind in ("query", "document"):
        assert np.array_equal(again.encode(texts, kind=kind), one.encode(texts, kind=kind))
