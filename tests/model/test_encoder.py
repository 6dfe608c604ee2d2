"""Encoders: what is read, what is written, and that every tool gets the same vectors from it."""

import copy
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from whet.config import EncodeConfig, ModelConfig
from whet.errors import ConfigError, EnvironmentRefused
from whet.model.encoder import Encoder, weights_unchanged
from whet.model.inference import token_batches

TEXTS = ["bace difo", "", "guka lemi nopu " * 20, "x", "rase tivo zu", "bace"]


def cosine_distance(one: np.ndarray, other: np.ndarray) -> float:
    one = one / np.linalg.norm(one, axis=1, keepdims=True)
    other = other / np.linalg.norm(other, axis=1, keepdims=True)
    return float(np.abs(1 - (one.astype(np.float64) * other).sum(1)).max())


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("normalize", [True, False])
def test_saved_model_opens_in_sentence_transformers(tiny_model, tmp_path, pooling, normalize):
    from sentence_transformers import SentenceTransformer

    config = ModelConfig(
        str(tiny_model),
        pooling=pooling,
        normalize=normalize,
        query_prompt="bace: ",
        document_prompt="difo: ",
        max_length=20,
    )
    encoder = Encoder.load(config)
    folder = encoder.save(tmp_path / "saved", "# A card")
    other = SentenceTransformer(str(folder), device="cpu")
    for kind, theirs in (("query", other.encode_query), ("document", other.encode_document)):
        assert cosine_distance(encoder.encode(TEXTS, kind=kind), theirs(TEXTS)) < 1e-6
    again = Encoder.load(str(folder))
    assert again.recipe == encoder.recipe
    assert again.fingerprint() == encoder.fingerprint()
    assert (folder / "model.safetensors").is_file()


def test_minilm_equals_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    encoder = Encoder.load("minilm")
    texts = ["how do I list files?", "", "ls -la | wc " * 200]
    theirs = SentenceTransformer(str(encoder.source), device="cpu").encode(texts)
    assert cosine_distance(encoder.encode(texts), theirs) < 1e-6


def test_older_pooling_and_newer_pooling_are_read(tiny_model, tmp_path):
    folder = tmp_path / "new"
    shutil.copytree(tiny_model, folder)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"embedding_dimension": 32, "pooling_mode": "cls"})
    )
    assert Encoder.load(str(folder)).recipe.pooling == "cls"
    assert Encoder.load(str(tiny_model)).recipe.pooling == "mean"


def test_vectors_do_not_depend_on_the_batch(tiny_model):
    encoder = Encoder.load(str(tiny_model))
    one_by_one = np.vstack([encoder.encode([text]) for text in TEXTS])
    together = encoder.encode(TEXTS, config=EncodeConfig(batch_tokens=7))
    assert np.abs(one_by_one - together).max() < 1e-6


def test_fingerprint_follows_every_weight(tiny_model):
    encoder = Encoder.load(str(tiny_model))
    before = encoder.fingerprint()
    encoder.encode(TEXTS)
    assert encoder.fingerprint() == before
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[3] += 1e-6
    assert encoder.fingerprint() != before
    other = Encoder.load(ModelConfig(str(tiny_model), document_prompt="x"))
    assert other.fingerprint() != before


def test_a_fingerprint_is_kept_while_weights_are_said_to_stay(tiny_model):
    """For the block and its encoder alone; a block within another belongs to it."""
    encoder = Encoder.load(str(tiny_model))
    first = encoder.fingerprint()
    with weights_unchanged():
        assert encoder.fingerprint() == first
        with weights_unchanged(), torch.no_grad():
            next(encoder.parameters()).view(-1)[3] += 1e-6  # what must not be done
        assert encoder.fingerprint() == first
        assert copy.deepcopy(encoder).fingerprint() != first
    assert encoder.fingerprint() != first


def test_lora_trains_little_and_saves_merged(tiny_model, tmp_path):
    encoder = Encoder.load(ModelConfig(str(tiny_model), lora_rank=4))
    trained = [p for p in encoder.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < 0.3 * sum(p.numel() for p in encoder.parameters())
    with torch.no_grad():
        for p in trained:
            p.add_(0.05)
    folder = encoder.save(tmp_path / "merged")
    assert np.abs(Encoder.load(str(folder)).encode(TEXTS) - encoder.encode(TEXTS)).max() < 1e-5
    assert np.abs(Encoder.load(str(tiny_model)).encode(TEXTS) - encoder.encode(TEXTS)).max() > 1e-3


def test_dropout_is_set(tiny_model):
    encoder = Encoder.load(ModelConfig(str(tiny_model), dropout=0.0)).train()
    tokens = encoder.tokenize(TEXTS, "query")
    assert torch.equal(encoder.forward_tokens(tokens), encoder.forward_tokens(tokens))


def test_save_never_overwrites(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match=r"exists already\. Choose another folder"):
        Encoder.load(str(tiny_model)).save(tmp_path)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("owner/no-such-model", EnvironmentRefused, "the model hub gave no such model"),
        ("no such model!", ConfigError, "neither a folder here nor a Hugging Face name"),
    ],
)
def test_unknown_model(name, error, words):
    with pytest.raises(error, match=words):
        Encoder.load(name)


def test_folder_that_is_no_model(tmp_path):
    with pytest.raises(ConfigError, match=r"holds neither modules\.json nor config\.json"):
        Encoder.load(str(tmp_path))


def test_pickled_weights_are_refused(tiny_model, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="pickled weights can run code"):
        Encoder.load(str(folder))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_length": 10_000}, "model.max_length=10000: this model reads 1 to 32 tokens"),
        ({"pooling": "max"}, "model.pooling=max is unknown"),
        ({"dropout": 1.5}, "model.dropout=1.5 is out of range"),
    ],
)
def test_options_out_of_range(tiny_model, options, words):
    with pytest.raises(ConfigError, match=words):
        Encoder.load(ModelConfig(str(tiny_model), **options))


def test_unsupported_layer_is_named(tiny_model, tmp_path):
    folder = tmp_path / "dense"
    shutil.copytree(tiny_model, folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_LSTM", "type": "x.models.LSTM"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match=r"a x\.models\.LSTM layer is not supported"):
        Encoder.load(str(folder))


def test_token_batches_hold_every_text_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 40, 500)
    batches = list(token_batches(lengths, 128))
    assert sorted(np.concatenate(batches)) == list(range(500))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= 128
    waste = 1 - lengths.sum() / sum(len(rows) * lengths[rows].max() for rows in batches)
    assert waste < 0.05


def test_a_pooler_that_was_not_saved_does_not_change_the_fingerprint(tiny_model, tmp_path):
    """Such weights are drawn anew at each load: vectors in the store would never be found again."""
    shutil.copytree(tiny_model, tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    kept = {name: w for name, w in load_file(weights).items() if "pooler" not in name}
    save_file(kept, weights, metadata={"format": "pt"})
    prints = {Encoder.load(str(tmp_path / "model")).fingerprint() for _ in range(2)}
    assert len(prints) == 1


QUERY_WEIGHT = "encoder.layer.0.attention.self.query.weight"
LAST_NORM = "encoder.layer.1.output.LayerNorm.weight"


def spoiled(tiny_model, folder, name, number):
    """The tiny model with one number all over a tensor."""
    shutil.copytree(tiny_model, folder)
    weights = {name: w.clone() for name, w in load_file(folder / "model.safetensors").items()}
    weights[name][:] = number
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return Encoder.load(str(folder))


@pytest.mark.parametrize(
    ("name", "number", "normalize"),
    [
        (QUERY_WEIGHT, float("inf"), True),
        (QUERY_WEIGHT, float("inf"), False),
        (LAST_NORM, float("nan"), True),
        (LAST_NORM, 1e25, True),  # the numbers are finite, and the vector's length is not
    ],
)
def test_vectors_that_are_not_finite_are_refused(tiny_model, tmp_path, name, number, normalize):
    encoder = spoiled(tiny_model, tmp_path / "model", name, number)
    encoder.recipe = replace(encoder.recipe, normalize=normalize)
    with pytest.raises(ConfigError, match=r"The vectors of text 0, text 1.* hold NaN") as caught:
        encoder.encode(["bace", "difo"])
    assert encoder.fingerprint()[:16] in str(caught.value)
    assert f"first in {name}" in str(caught.value) or np.isfinite(number)


def test_weights_that_become_nan_later_are_noticed(tiny_model):
    encoder = Encoder.load(str(tiny_model))
    encoder.encode(["bace"])
    with torch.no_grad():
        encoder.backbone.get_parameter(QUERY_WEIGHT)[0, 0] = torch.inf
    with pytest.raises(ConfigError, match=f"first in {QUERY_WEIGHT}"):
        encoder.encode(["bace"])


def test_an_overflow_in_half_precision_is_called_that(tiny_model, tmp_path):
    encoder = spoiled(tiny_model, tmp_path / "model", "encoder.layer.0.output.dense.weight", 1e5)
    assert np.isfinite(encoder.encode(TEXTS)).all()
    with pytest.raises(ConfigError, match=r"overflow in fp16: try encode\.precision=fp32"):
        encoder.encode(TEXTS, config=EncodeConfig(precision="fp16"))


def test_a_tokenizer_that_does_not_know_the_texts_is_refused(tiny_model):
    encoder = Encoder.load(str(tiny_model))
    foreign = ["\u0436\u0443\u043a \u0431\u044b\u043b"] * 300
    with pytest.raises(ConfigError, match="does not know 100% of the words of these 300 texts"):
        encoder.encode(foreign)
    assert len(encoder.encode([*foreign[:100], *(["bace difo"] * 200)])) == 300  # half of them
    assert len(encoder.encode(foreign[:3])) == 3  # a query may be anything


def test_a_tokenizer_that_knows_less_than_half_of_the_texts_is_told_once(
    tiny_model, tmp_path, capsys
):
    """As MiniLM knows little of Thai, and has published figures for it."""
    encoder = Encoder.load(shutil.copytree(tiny_model, tmp_path / "model").as_posix())
    mixed = ["\u0436\u0443\u043a bace \u0431\u044b\u043b"] * 300
    for _ in range(2):
        assert len(encoder.encode(mixed)) == 300
    assert capsys.readouterr().err.count("does not know over half of the words") == 1
