"""Model folders of strangers, and damaged ones: each is refused in one line that names the file."""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from whet.config import ModelConfig
from whet.errors import WhetError
from whet.mining.crossencoder import CrossEncoder
from whet.model.encoder import Encoder
from whet.model.folder import copy_tokenizer
from whet.model.towers import Towers, open_model

Change = Callable[[Path], Any]
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LAYER = "encoder.layer.0."


def text(name: str, content: str | bytes) -> Change:
    """Put other content into a file."""
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(raw)


def fields(name: str, **changed: Any) -> Change:
    """Change fields of a JSON file; None takes one away."""

    def change(folder: Path) -> None:
        said = json.loads((folder / name).read_text())
        said |= changed
        kept = {key: value for key, value in said.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return change


def module(at: int, **changed: Any) -> Change:
    def change(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text())
        modules[at] |= changed
        (folder / "modules.json").write_text(json.dumps(modules))

    return change


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """A copy: the file that `load_file` maps is written over."""
    return {name: part.clone() for name, part in load_file(folder / WEIGHTS).items()}


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    def apply(folder: Path) -> None:
        changed = change(tensors(folder))
        save_file(changed, folder / WEIGHTS, metadata={"format": "pt"})

    return apply


def header(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Change the header of the weights and leave the tensors as they are."""

    def apply(folder: Path) -> None:
        raw = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        said = json.loads(raw[8 : 8 + length])
        spelled = json.dumps(change(said) or said).encode()
        (folder / WEIGHTS).write_bytes(
            struct.pack("<Q", len(spelled)) + spelled + raw[8 + length :]
        )

    return apply


def indexed(name: Any, **changed: Any) -> Change:
    """Weights by way of an index that names one file."""

    def apply(folder: Path) -> None:
        names = tensors(folder)
        (folder / WEIGHTS).rename(folder / "part.safetensors")
        said = {"metadata": {}, "weight_map": dict.fromkeys(names, name), **changed}
        (folder / INDEX).write_text(json.dumps(said))

    return apply


def link(name: str) -> Change:
    """A file of the folder is a link to the same file outside of it."""

    def apply(folder: Path) -> None:
        outside = folder.parent / "outside"
        shutil.copytree(folder, outside)
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(outside / name)

    return apply


def dense(folder: Path, **changed: Any) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    layer = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules[:2], layer, modules[2]]))
    (folder / "2_Dense").mkdir()
    plain = {"in_features": 32, "out_features": 32, "bias": False}
    plain |= {"activation_function": "torch.nn.modules.linear.Identity"} | changed
    (folder / "2_Dense/config.json").write_text(json.dumps(plain))


def dense_of_shape(*shape: int) -> Change:
    def change(folder: Path) -> None:
        dense(folder)
        save_file({"linear.weight": torch.zeros(*shape)}, folder / "2_Dense" / WEIGHTS)

    return change


def tokenizer(change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(folder: Path) -> None:
        said = json.loads((folder / "tokenizer.json").read_text())
        change(said)
        (folder / "tokenizer.json").write_text(json.dumps(said))

    return apply


def only(count: int) -> Change:
    """A vocabulary of its first words alone."""

    def change(said: dict[str, Any]) -> None:
        words = sorted(said["model"]["vocab"].items(), key=lambda item: item[1])
        said["model"]["vocab"] = dict(words[:count])

    return tokenizer(change)


def without_words(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def emptied(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


def fifo(folder: Path) -> None:
    (folder / "modules.json").unlink()
    os.mkfifo(folder / "modules.json")


def code(folder: Path) -> None:
    """A model whose class is in the folder; to import it leaves a trace."""
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass C: pass\n")
    classes = {"AutoConfig": "evil.C", "AutoModel": "evil.C"}
    fields("config.json", model_type="strange", auto_map=classes)(folder)


def sparse(folder: Path) -> None:
    """A file that says it has as many numbers as fit nowhere; it takes no room on the disk."""
    numbers = 1 << 44
    about = {"dtype": "F32", "shape": [numbers], "data_offsets": [0, numbers * 4]}
    spelled = json.dumps({"a": about}).encode()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(spelled)) + spelled)
        try:
            file.truncate(8 + len(spelled) + numbers * 4)
        except OSError:
            pytest.skip("no files of 64 TiB here")


def first(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(list(found.items())[1:])


def reshaped(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return found | {f"{LAYER}output.dense.bias": torch.zeros(7)}


POOLING, NORMALIZE = (f"sentence_transformers.models.{kind}" for kind in ("Pooling", "Normalize"))
PROMPTS = "config_sentence_transformers.json"
LENGTH = "sentence_bert_config.json"
BROKEN: dict[str, tuple[Change, str]] = {
    "modules cut": (text("modules.json", "{"), r"modules\.json is damaged: no JSON"),
    "modules a dict": (text("modules.json", '{"a": 1}'), r"modules\.json is damaged: .* a list"),
    "modules null": (text("modules.json", "null"), r"modules\.json is damaged: .* nothing"),
    "modules not UTF-8": (text("modules.json", b"\xff\xfe"), r"modules\.json is damaged: .* UTF-8"),
    "modules nested": (text("modules.json", "[" * 99_999), r"modules\.json is nested too deep"),
    "modules empty": (text("modules.json", "[]"), "it lists no Transformer"),
    "modules of text": (text("modules.json", '["x"]'), "each layer must have"),
    "module without a type": (module(0, type=None), "each layer must have"),
    "module with a number for a path": (module(1, path=1), "each layer must have"),
    "module outside": (module(0, path="../outside"), r"'\.\./outside' leads out"),
    "module at the root": (module(1, path="/etc"), "'/etc' leads out"),
    "module of no name": (module(1, path="1_\ud800"), r"'1_.*' is no name of a file"),
    "module missing": (module(0, path="nowhere"), "nowhere"),
    "module twice": (module(2, type=POOLING), "two Pooling layers"),
    "modules in another order": (
        lambda folder: (module(1, type=NORMALIZE)(folder), module(2, type=POOLING)(folder)),
        "layers in the order Transformer, Normalize, Pooling",
    ),
    "no pooling": (module(1, type=NORMALIZE), "lists no Pooling"),
    "pooling of another library": (module(1, type="x.Pooling"), r"a x\.Pooling layer is not"),
    "pooling without a word": (
        lambda folder: (folder / "1_Pooling/config.json").unlink(),
        r"1_Pooling/config\.json is missing",
    ),
    "modules a fifo": (fifo, r"modules\.json is no ordinary file"),
    "config missing": (
        lambda folder: (folder / "config.json").unlink(),
        r"config\.json is missing",
    ),
    "config null": (text("config.json", "null"), r"config\.json is damaged"),
    "config a list": (text("config.json", "[]"), r"config\.json is damaged"),
    "config without a type": (fields("config.json", model_type=None), 'has no "model_type"'),
    "config of an unknown type": (fields("config.json", model_type="strange"), "cannot be loaded"),
    "type a list": (fields("config.json", model_type=["bert"]), 'has no "model_type"'),
    "size a text": (fields("config.json", hidden_size="32"), "cannot be loaded"),
    "size a list": (fields("config.json", hidden_size=[32]), "cannot be loaded"),
    "size negative": (fields("config.json", hidden_size=-32), "cannot be loaded"),
    "size zero": (fields("config.json", hidden_size=0), "cannot be loaded|another shape"),
    "heads that do not divide": (fields("config.json", num_attention_heads=5), "cannot be loaded"),
    "no heads": (fields("config.json", num_attention_heads=0), "cannot be loaded"),
    "unknown activation": (fields("config.json", hidden_act="os.system"), "cannot be loaded"),
    "dropout of 9": (fields("config.json", hidden_dropout_prob=9.0), "cannot be loaded"),
    "epsilon a text": (fields("config.json", layer_norm_eps="x"), "cannot be loaded"),
    "a decoder": (
        fields("config.json", is_decoder=True, add_cross_attention=True),
        "the weights lack",
    ),
    "chunks": (fields("config.json", chunk_size_feed_forward=9973), "cannot be loaded"),
    "more layers than saved": (fields("config.json", num_hidden_layers=3), "lack 16 tensors"),
    "100,000 layers": (fields("config.json", num_hidden_layers=10**5), "100,000, and 1,000 is"),
    "a long number": (fields("config.json", vocab_size=10**40), "over 30 digits"),
    "many words": (fields("config.json", vocab_size=2 * 10**9), "in float32, and this machine has"),
    "some words more": (fields("config.json", vocab_size=10**7), "describes a model of"),
    "many labels": (fields("config.json", num_labels=10**9), '"num_labels" is 1,000,000,000'),
    "positions": (fields("config.json", max_position_embeddings=63), "another shape"),
    "another config file": (
        fields("config.json", configuration_files=["config.0.0.0.json"]),
        'by "configuration_files"',
    ),
    "other weights": (
        fields("config.json", transformers_weights="../x.safetensors"),
        'by "transformers_weights"',
    ),
    "quantized": (
        fields("config.json", quantization_config={"quant_method": "hqq"}),
        'by "quantization_config"',
    ),
    "a kernel of the hub": (
        fields("config.json", attn_implementation="owner/kernel"),
        "code of the hub",
    ),
    "code": (code, "needs code of its own, which is not run unasked"),
    "an adapter": (text("adapter_config.json", "{}"), "holds an adapter beside"),
    "weights missing": (lambda folder: (folder / WEIGHTS).unlink(), "neither model.safetensors"),
    "weights a pointer": (
        text(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        r"model\.safetensors is a pointer of Git LFS",
    ),
    "tokenizer a pointer": (
        text(
            "tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
        r"tokenizer\.json is a pointer of Git LFS",
    ),
    "weights empty": (text(WEIGHTS, b""), r"model\.safetensors is damaged: it is cut"),
    "weights a folder": (emptied, r"model\.safetensors is no ordinary file"),
    "weights cut": (
        lambda folder: os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 100),
        "it is cut: 100 bytes",
    ),
    "weights longer": (
        lambda folder: os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size + 9),
        "9 bytes follow its last tensor",
    ),
    "weights a pickle": (
        lambda folder: torch.save(tensors(folder), folder / WEIGHTS),
        "its header would have",
    ),
    "header of noise": (text(WEIGHTS, struct.pack("<Q", 4) + b"\xff{{{"), "header is no JSON"),
    "header a list": (text(WEIGHTS, struct.pack("<Q", 2) + b"[]"), "header is no object"),
    "header of a bomb": (text(WEIGHTS, struct.pack("<Q", 1 << 60) + b"{}"), "header would have"),
    "header: dtype": (
        header(lambda said: said[f"{LAYER}output.dense.bias"].update(dtype="X9")),
        f"wrong about the tensor '{LAYER}output.dense.bias'",
    ),
    "header: shape": (
        header(lambda said: said[f"{LAYER}output.dense.bias"].update(shape=[-32])),
        f"wrong about the tensor '{LAYER}output.dense.bias'",
    ),
    "header: overlap": (
        header(lambda said: said.update(b={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})),
        "overlap",
    ),
    "weights of 64 TiB": (sparse, "in float32, and this machine has"),
    "one tensor missing": (weights(first), r"lack 1 tensor \(embeddings"),
    "another prefix": (
        weights(lambda found: {f"other.of.{name}": part for name, part in found.items()}),
        "the weights lack",
    ),
    "another shape": (weights(reshaped), r"1 tensor \(encoder\.layer\.0\.output\.dense\.bias is"),
    "index cut": (
        lambda folder: (indexed("part.safetensors")(folder), text(INDEX, "{")(folder)),
        r"index\.json is damaged: no JSON",
    ),
    "index without names": (indexed("part.safetensors", weight_map=[]), "weight_map"),
    "index without metadata": (indexed("part.safetensors", metadata=None), "metadata"),
    "index of a pickle": (indexed("w.bin"), r"'w\.bin', which is no \.safetensors file"),
    "index of a number": (indexed(7), "which is no .safetensors file"),
    "index that leads out": (indexed("../x.safetensors"), "leads out of the model's folder"),
    "index to the root": (indexed("/x.safetensors"), "leads out of the model's folder"),
    "index of a missing file": (indexed("gone.safetensors"), r"gone\.safetensors is missing"),
    "a distributed checkpoint": (
        text("shard-00001-model-00001-of-00001.safetensors", b""),
        "part of a distributed checkpoint",
    ),
    "pooling cut": (text("1_Pooling/config.json", "{"), r"1_Pooling/config\.json is damaged"),
    "pooling a text": (
        fields("1_Pooling/config.json", pooling_mode_mean_tokens="yes"),
        "flags must be true or false",
    ),
    "pooling none": (
        fields("1_Pooling/config.json", pooling_mode_mean_tokens=False),
        "all poolings are switched off",
    ),
    "dense without weights": (dense, r"2_Dense/model\.safetensors is missing"),
    "dense of another size": (dense_of_shape(8, 8), "must be 32 x 32, is 8 x 8"),
    "dense of a list": (
        lambda folder: (dense(folder), text("2_Dense/config.json", "[]")(folder)),
        r"2_Dense/config\.json is damaged",
    ),
    "length cut": (text(LENGTH, '{"max'), r"sentence_bert_config\.json is damaged"),
    "length a text": (fields(LENGTH, max_seq_length="32"), '"max_seq_length" must be a whole'),
    "length true": (fields(LENGTH, max_seq_length=True), '"max_seq_length" must be a whole'),
    "length negative": (fields(LENGTH, max_seq_length=-1), '"max_seq_length" must be a whole'),
    "prompts a list": (fields(PROMPTS, prompts=["a"]), '"prompts" must be texts'),
    "a prompt of a number": (fields(PROMPTS, prompts={"query": 7}), '"prompts" must be texts'),
    "a prompt of 10 MB": (fields(PROMPTS, prompts={"query": "a" * 10**7}), "10,000 is the most"),
    "tokenizer missing": (without_words, "its tokenizer knows no words"),
    "tokenizer cut": (text("tokenizer.json", '{"version"'), "cannot be loaded"),
    "tokenizer a list": (text("tokenizer.json", "[]"), "cannot be loaded"),
    "tokenizer of nothing": (text("tokenizer.json", "{}"), "cannot be loaded"),
    "tokenizer without unknown": (
        tokenizer(lambda said: said["model"]["vocab"].pop("[UNK]")),
        "cannot be loaded|knows",
    ),
    "tokenizer with few words": (only(20), "they do not belong together"),
    "tokenizer with none": (only(5), "they do not belong together|knows no words"),
    "tokenizer with far numbers": (
        tokenizer(lambda said: said["model"]["vocab"].update(bace=10**6)),
        "has a word with the number 1,000,000",
    ),
    "tokenizer's config cut": (text("tokenizer_config.json", "{"), r"config\.json is damaged"),
    "tokenizer's config a list": (text("tokenizer_config.json", "[]"), r"config\.json is damaged"),
    "tokenizer's length a text": (
        fields("tokenizer_config.json", model_max_length="long"),
        "cannot be loaded",
    ),
    "tokenizer's files": (
        fields("tokenizer_config.json", fast_tokenizer_files=["tokenizer./../../x.json"]),
        '"fast_tokenizer_files" is no list of names',
    ),
    "special tokens cut": (text("special_tokens_map.json", "{"), r"map\.json is damaged"),
    "link to weights": (link(WEIGHTS), r"model\.safetensors is a link that leads out"),
    "link to the tokenizer": (link("tokenizer.json"), r"tokenizer\.json is a link that leads out"),
    "link to a module": (link("1_Pooling"), "1_Pooling is a link that leads out"),
    "link to a private file": (
        lambda folder: (folder / "vocab.txt").symlink_to("/etc/hostname"),
        r"vocab\.txt is a link that leads out",
    ),
    "link to a device": (
        lambda folder: (folder / "vocab.txt").symlink_to("/dev/zero"),
        r"vocab\.txt is a link that leads out",
    ),
    "link to itself": (
        lambda folder: (folder / "vocab.txt").symlink_to("vocab.txt"),
        r"vocab\.txt is a link that leads out",
    ),
    "link to nothing": (
        lambda folder: (folder / "vocab.txt").symlink_to("gone.txt"),
        r"vocab\.txt cannot be read",
    ),
    "router of nothing": (text("router_config.json", "{}"), r'should hold "structure"'),
    "router a list": (text("router_config.json", "[]"), r"router_config\.json is damaged"),
    "router with other routes": (
        text("router_config.json", '{"structure": {"a": ["b"]}}'),
        "its routes are a",
    ),
    "router with numbers": (
        text("router_config.json", '{"structure": {"query": 1, "document": [2]}}'),
        "a route is no list of names",
    ),
    "router that leads out": (
        text("router_config.json", '{"structure": {"query": ["../a"], "document": ["b"]}}'),
        "leads out of the model's folder",
    ),
    "router to itself": (
        text("router_config.json", '{"structure": {"query": ["."], "document": ["."]}}'),
        '"types" should be an object',
    ),
}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """What transformers logs, which warns unless it is told otherwise."""
    from transformers.utils import logging as theirs

    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    theirs.add_handler(handler)
    theirs.set_verbosity_warning()
    yield records
    theirs.remove_handler(handler)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_refused_in_one_line(name, folder, capfd, recwarn, logged):
    change, words = BROKEN[name]
    change(folder)
    capfd.readouterr()
    with pytest.raises(WhetError, match=words) as caught:
        open_model(str(folder))
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    assert str(folder) in message or "model.max_length" in message
    assert capfd.readouterr() == ("", "")  # and no line of a library before it
    assert not logged
    assert not [str(warning.message) for warning in recwarn]
    assert not (folder / "ran").exists()


def test_what_may_lack_or_be_left_over_is_no_fault(folder, capsys):
    want = Encoder.load(str(folder)).encode(["bace difo"])
    weights(
        lambda found: (
            found
            | {"cls.predictions.bias": torch.zeros(3), "embeddings.position_ids": torch.zeros(3)}
        )
    )(folder)
    capsys.readouterr()
    assert np.array_equal(Encoder.load(str(folder)).encode(["bace difo"]), want)
    assert capsys.readouterr().err == ""
    weights(lambda found: found | {"strange.weight": torch.zeros(3)})(folder)
    assert np.array_equal(Encoder.load(str(folder)).encode(["bace difo"]), want)
    assert "1 tensor (strange.weight) that this model does not use" in capsys.readouterr().err


def test_weights_in_parts_are_read(folder):
    want = Encoder.load(str(folder)).fingerprint()
    indexed("part.safetensors")(folder)
    assert Encoder.load(str(folder)).fingerprint() == want


def test_links_within_a_repository_of_the_hubs_cache_are_followed(folder, tmp_path):
    want = Encoder.load(str(folder)).fingerprint()
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "0123"
    shutil.copytree(folder, snapshot)
    (repository / "blobs").mkdir()
    for name in (WEIGHTS, "tokenizer.json", "config.json"):
        (snapshot / name).rename(repository / "blobs" / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    assert Encoder.load(str(snapshot)).fingerprint() == want
    (tmp_path / "elsewhere").symlink_to(snapshot)  # the user's own link to a whole folder
    encoder = Encoder.load(str(tmp_path / "elsewhere"))
    assert encoder.fingerprint() == want
    saved = encoder.save(tmp_path / "saved")
    assert (saved / "tokenizer.json").is_file() and not (saved / "tokenizer.json").is_symlink()


def test_a_link_that_leads_out_is_not_copied(folder, tmp_path, capsys):
    (tmp_path / "private").write_text("PRIVATE")
    (folder / "vocab.txt").symlink_to(tmp_path / "private")
    (tmp_path / "copy").mkdir()
    copy_tokenizer(folder, tmp_path / "copy")
    assert (tmp_path / "copy" / "tokenizer.json").is_file()
    assert not (tmp_path / "copy" / "vocab.txt").exists()
    assert "vocab.txt leads out of the model's folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ['{"weight": NaN}', '{"weight": -1}', "[1]", '{"weight": true}']
)
def test_a_weight_of_words_that_is_no_weight(folder, tmp_path, content):
    encoder = Encoder.load(str(folder))
    whole = Towers(encoder, encoder, 0.2).save(tmp_path / "towers")
    (whole / "words.json").write_text(content)
    with pytest.raises(WhetError, match=r"words\.json is damaged"):
        open_model(str(whole))


@pytest.mark.parametrize("name", ["a\0b", "a" * 5_000, "~nobody-of-that-name/model", "\x1b[2J"])
def test_a_name_that_is_none(name):
    with pytest.raises(WhetError, match=r"model\.name=.* cannot be loaded") as caught:
        Encoder.load(ModelConfig(name=name))
    assert "\x1b" not in str(caught.value)


@pytest.fixture
def reranker(folder: Path, tmp_path: Path) -> Path:
    from transformers import AutoConfig, BertForSequenceClassification

    for part in ("modules.json", LENGTH, PROMPTS):
        (folder / part).unlink()
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    with torch.random.fork_rng():
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


RERANKERS = (
    "config null",
    "code",
    "100,000 layers",
    "chunks",
    "weights cut",
    "index of a pickle",
    "index that leads out",
    "tokenizer missing",
    "link to weights",
)


@pytest.mark.parametrize("name", RERANKERS)
def test_a_cross_encoder_is_loaded_by_the_same_rules(name, reranker, capfd, monkeypatch):
    assert CrossEncoder(str(reranker)).scores(["bace"], ["difo"]).shape == (1,)
    change, words = BROKEN[name]
    change(reranker)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    capfd.readouterr()
    with pytest.raises(WhetError, match=words):
        CrossEncoder(str(reranker))
    assert capfd.readouterr() == ("", "")
    assert not (reranker / "ran").exists()


@pytest.mark.parametrize("part", ["classifier.", "bert.pooler."])
def test_a_cross_encoder_needs_the_layers_that_give_its_score(part, reranker):
    weights(lambda found: {k: v for k, v in found.items() if not k.startswith(part)})(reranker)
    with pytest.raises(WhetError, match=f"the weights lack 2 tensors \\({part}"):
        CrossEncoder(str(reranker))


def test_a_cross_encoder_with_nan_in_its_weights(reranker):
    name = "classifier.bias"
    weights(lambda found: found | {name: torch.full((1,), torch.nan)})(reranker)
    with pytest.raises(WhetError, match=f"hold NaN or infinity, first in {name}"):
        CrossEncoder(str(reranker))
