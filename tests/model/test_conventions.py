"""What sentence-transformers of versions 2 to 6 write into a model's folder: its vectors before and
after training.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from strangers import (
    NORMALIZE,
    PROMPTS,
    SIZE,
    SMALL,
    TEXTS,
    USED_BY_6,
    WORDS,
    Make,
    Part,
    bert,
    dense,
    difference,
    layer_norm,
    learn,
    of_bert,
    pooling,
    put,
    router,
    seeded,
    sentence,
    static,
    tokenizer,
)

from whet.model.encoder import Encoder
from whet.model.towers import open_model

ACTIVATIONS = "torch.nn.modules.activation"
READ_BY_6 = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
NEW_POOLING: Part = ("Pooling", {"embedding_dimension": SIZE, "pooling_mode": "mean"}, {})
USE = "config_sentence_transformers.json"
MODES = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "last")


def cut(*parts: Part, similarity: str) -> Make:
    return of_bert(pooling(), *parts, use={"truncate_dim": 20, "similarity_fn_name": similarity})


def in_a_folder_of_its_own(folder: Path) -> Path:
    bert(folder / "0_Transformer")
    sentence(folder)
    (folder / "sentence_bert_config.json").rename(
        folder / "0_Transformer/sentence_bert_config.json"
    )
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    put(folder / "modules.json", modules)
    return folder


def of_roberta(folder: Path) -> Path:
    """Its length stands in a file of an older name."""
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(**{**SMALL, "max_position_embeddings": 66})
    seeded(lambda: RobertaModel(config)).save_pretrained(folder)
    tokenizer(folder)
    sentence(folder, reading={})
    put(folder / "sentence_roberta_config.json", {"max_seq_length": 30, "do_lower_case": False})
    return folder


def lower_case(folder: Path) -> Path:
    bert(folder, lower=False)
    return sentence(folder, reading={"max_seq_length": 48, "do_lower_case": True})


def python_tokenizer(folder: Path) -> Path:
    """PhoBERT's, which no tokenizer.json can hold."""
    from transformers import PhobertTokenizer, RobertaConfig, RobertaModel

    folder.mkdir(parents=True)
    letters = [word for word in WORDS[5:] if len(word) == 1]
    (folder / "vocab.txt").write_text("".join(f"{c}@@ 1\n{c} 1\n" for c in letters))
    (folder / "bpe.codes").write_text("t h 10\nth e</w> 9\n")
    words = PhobertTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"))
    words.save_pretrained(str(folder))
    shape = {"vocab_size": len(words), "max_position_embeddings": 66, "pad_token_id": 1}
    model = seeded(lambda: RobertaModel(RobertaConfig(**{**SMALL, **shape})))
    model.save_pretrained(folder)
    return sentence(folder)


def with_files_of_others(folder: Path) -> Path:
    sentence(bert(folder))
    for name in ("onnx/model.onnx", "openvino/openvino_model.xml", "tf_model.h5"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"another tool's")
    return folder


def of_model2vec(folder: Path) -> Path:
    """Words that share rows, and a weight for each."""
    draw = torch.Generator().manual_seed(4)
    table = {
        "embeddings": torch.randn(40, SIZE, generator=draw),
        "mapping": torch.randint(0, 40, (len(WORDS),), generator=draw),
        "weights": torch.rand(len(WORDS), generator=draw),
    }
    static(NORMALIZE, table=table)(folder)
    put(folder / "config.json", {"model_type": "model2vec", "normalize": True})
    return folder


OPENED: dict[str, Make] = {
    "version 2": of_bert(pooling(), NORMALIZE),
    "version 3": of_bert(
        pooling(), NORMALIZE, use={"prompts": PROMPTS, "default_prompt_name": None}
    ),
    "version 6": of_bert(
        NEW_POOLING, NORMALIZE, reading=READ_BY_6, use=USED_BY_6 | {"prompts": PROMPTS}, version=6
    ),
    **{f"flag of {mode}": of_bert(pooling(mode), NORMALIZE) for mode in MODES if mode != "mean"},
    "flags of two poolings": of_bert(pooling("mean", pooling_mode_cls_token=True), NORMALIZE),
    "pooling that says nothing": of_bert(("Pooling", {"word_embedding_dimension": SIZE}, {})),
    "list of poolings": of_bert(
        ("Pooling", {"embedding_dimension": SIZE, "pooling_mode": ["mean", "cls", "max"]}, {}),
        dense(SIZE, 3 * SIZE),
        version=6,
    ),
    **{
        f"prompt left out of {mode}": of_bert(
            pooling(mode, include_prompt=False), use={"prompts": PROMPTS}
        )
        for mode in ("mean", "cls", "last", "weightedmean")
    },
    "include_prompt without prompts": of_bert(pooling(include_prompt=False), NORMALIZE),
    "prompts of other names": of_bert(
        pooling(),
        NORMALIZE,
        use={"prompts": {"search": "find: ", "group": "like: "}, "default_prompt_name": "search"},
    ),
    "cosine without Normalize": of_bert(pooling(), use={"similarity_fn_name": "cosine"}),
    "no word of similarity": of_bert(pooling()),
    "similarity of null": of_bert(pooling(), use={"similarity_fn_name": None}),
    "dot product": of_bert(pooling(), use={"similarity_fn_name": "dot"}),
    "dot product of unit length": of_bert(pooling(), NORMALIZE, use={"similarity_fn_name": "dot"}),
    "euclidean of unit length": of_bert(
        pooling(), NORMALIZE, use={"similarity_fn_name": "euclidean"}
    ),
    "dense": of_bert(pooling(), dense(), NORMALIZE),
    "dense to fewer numbers": of_bert(
        pooling(), dense(16, bias=True, activation_function=f"{ACTIVATIONS}.Tanh"), NORMALIZE
    ),
    "dense that names no activation": of_bert(
        pooling(), dense(16, bias=None, activation_function=None)
    ),
    "dense twice": of_bert(pooling(), dense(), dense(seed=2), NORMALIZE),
    "dense after unit length": of_bert(pooling(), NORMALIZE, dense(48), NORMALIZE),
    "dense that adds its input": of_bert(
        pooling(), dense(use_residual=True, activation_function=f"{ACTIVATIONS}.ReLU")
    ),
    "dense that adds another product": of_bert(pooling(), dense(24, use_residual=True, bias=True)),
    "layer norm": of_bert(pooling(), layer_norm(), NORMALIZE),
    "dense, dropout, layer norm": of_bert(
        pooling(), dense(48), ("Dropout", {"dropout": 0.0}, {}), layer_norm(48)
    ),
    "version 6, dense": of_bert(
        NEW_POOLING,
        dense(40, module_input_name="sentence_embedding", module_output_name="sentence_embedding"),
        ("Normalize", {"module_input_name": "sentence_embedding"}, {}),
        reading=READ_BY_6,
        version=6,
    ),
    "cut, cosine": cut(NORMALIZE, similarity="cosine"),
    "cut, cosine, no Normalize": cut(dense(40), similarity="cosine"),
    "cut, dot product": cut(similarity="dot"),
    "cut after unit length, dot product": cut(dense(), NORMALIZE, similarity="dot"),
    "length beyond the tokenizer's": lambda folder: sentence(
        bert(folder, most=20), reading={"max_seq_length": 60}
    ),
    "length of null": of_bert(pooling(), reading={"max_seq_length": None, "do_lower_case": False}),
    "no word of length": of_bert(pooling(), reading={}),
    "arguments of the tokenizer": of_bert(
        pooling(), reading={"tokenizer_args": {"model_max_length": 20}, "model_args": {}}
    ),
    "lower case": lower_case,
    "a folder of its own": in_a_folder_of_its_own,
    "an older file's name": of_roberta,
    "files of others": with_files_of_others,
    "a tokenizer of Python": python_tokenizer,
    "no modules.json": bert,
    "static": static(),
    "static, unit length": static(NORMALIZE, version=6),
    "static, dense": static(dense(24), NORMALIZE),
    "model2vec": of_model2vec,
    "router": router,
    "router that shares its transformer": lambda folder: router(folder, shared=True),
}


@pytest.mark.parametrize("name", OPENED)
def test_vectors_are_those_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    folder = OPENED[name](tmp_path / "model")
    model = open_model(str(folder))
    assert difference(folder, model) < 1e-5
    if isinstance(model, Encoder):
        before = model.encode(TEXTS[:3])
        learn(model)
        assert np.abs(model.encode(TEXTS[:3]) - before).max() > 1e-4
    saved = model.save(tmp_path / "saved")
    assert difference(saved, model) < 1e-5
    again = open_model(str(saved))
    assert again.fingerprint() == model.fingerprint()
    for kind in ("query", "document"):
        assert again.side(kind).recipe == model.side(kind).recipe
        assert np.array_equal(again.encode(TEXTS, kind=kind), model.encode(TEXTS, kind=kind))


@pytest.mark.parametrize("use", [None, {}, {"similarity_fn_name": "cosine"}])
def test_a_cosine_needs_no_layer_to_be_one(use: dict[str, str] | None, tmp_path: Path) -> None:
    """The same model to the last hash: its scores, negatives and losses are those with the layer,
    and what is saved has it.
    """
    bare = Encoder.load(str(of_bert(pooling(), use=use)(tmp_path / "bare")))
    whole = Encoder.load(str(of_bert(pooling(), NORMALIZE, use=use)(tmp_path / "whole")))
    assert bare.fingerprint() == whole.fingerprint()
    modules = json.loads((bare.save(tmp_path / "saved") / "modules.json").read_text())
    assert modules[-1]["type"].endswith(".Normalize")


def test_prompts_of_other_names_stay_and_are_told(tmp_path: Path) -> None:
    encoder = Encoder.load(str(OPENED["prompts of other names"](tmp_path / "model")))
    told = encoder.recipe.prompts_in_words()
    assert told and "none is used" in told and "search, group" in told
    saved = json.loads((encoder.save(tmp_path / "saved") / USE).read_text())
    assert saved["default_prompt_name"] == "search"
    assert saved["prompts"]["search"] == "find: " and saved["prompts"]["group"] == "like: "
    use = {"prompts": {"query": "q: ", "passage": "p: "}}
    usual = Encoder.load(str(sentence(bert(tmp_path / "usual"), use=use)))
    line = "Prompts: queries behind 'q: ', documents behind 'p: '."
    assert usual.recipe.prompts_in_words() == line
    plain = Encoder.load(str(sentence(bert(tmp_path / "plain"))))
    assert plain.recipe.prompts_in_words() is None


def test_a_tokenizer_of_python_is_saved_with_all_its_files(tmp_path: Path) -> None:
    folder = python_tokenizer(tmp_path / "model")
    first = Encoder.load(str(folder)).fingerprint()
    saved = Encoder.load(str(folder)).save(tmp_path / "saved")
    for name in ("vocab.txt", "bpe.codes"):
        assert (saved / name).read_bytes() == (folder / name).read_bytes()
    (folder / "bpe.codes").write_text("t h 10\n")  # decides vectors
    assert Encoder.load(str(folder)).fingerprint() != first
