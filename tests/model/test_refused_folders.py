"""Model folders that say what is not understood: each is refused in one line that names it, and
none is read in part.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from strangers import (
    NORMALIZE,
    TEXTS,
    USED_BY_6,
    Make,
    bert,
    dense,
    of_bert,
    pooling,
    put,
    router,
    sentence,
    static,
)

from whet.config import ModelConfig
from whet.errors import ConfigError, UnsupportedModel
from whet.model.encoder import Encoder
from whet.model.folder import find_folder
from whet.model.towers import Towers, open_model


def changed(name: str, **said: Any) -> Make:
    """A usual folder with other words in one of its files."""

    def make(folder: Path) -> Path:
        sentence(bert(folder), use=USED_BY_6)
        path = folder / name
        put(path, {**(json.loads(path.read_text()) if path.exists() else {}), **said})
        return folder

    return make


def entry(at: int, **said: Any) -> Make:
    def make(folder: Path) -> Path:
        sentence(bert(folder))
        modules = json.loads((folder / "modules.json").read_text())
        modules[at] |= said
        put(folder / "modules.json", modules)
        return folder

    return make


def adapter(weights: str = "adapter_model.safetensors", **said: Any) -> Make:
    def make(folder: Path) -> Path:
        plain = {"base_model_name_or_path": "owner/base", "peft_type": "LORA", "r": 4}
        put(folder / "adapter_config.json", plain | said)
        save_file({"lora": torch.zeros(2)}, folder / weights)
        return folder

    return make


def chat(folder: Path) -> Path:
    (bert(folder) / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    return folder


def causal(folder: Path) -> Path:
    bert(folder)
    said = json.loads((folder / "config.json").read_text())
    put(folder / "config.json", said | {"architectures": ["BertForCausalLM"]})
    return folder


def pickled(folder: Path) -> Path:
    of_bert(pooling(), dense())(folder)
    weights = folder / "2_Dense/model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    return folder


LENGTH, USE, POOL = (
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)
REFUSED: dict[str, tuple[Make, str]] = {
    "key of the reading": (changed(LENGTH, window=7), '"window" is not understood'),
    "key of the pooling": (changed(POOL, attention=True), '"attention" is not understood'),
    "key of the use": (changed(USE, binary=True), '"binary" is not understood'),
    "key of the modules": (entry(1, layer=3), '"layer" is not understood'),
    "key of the normalisation": (changed("2_Normalize/config.json", p=1), '"p" is not understood'),
    "key of a dense layer": (of_bert(pooling(), dense(dropout=0.5)), '"dropout" is not understood'),
    "argument of the model": (changed(LENGTH, model_args={"gate": 1}), '"gate" is not understood'),
    "values with a text": (entry(0, kwargs=["task"]), '"kwargs"'),
    "class of another library": (entry(0, type="custom_st.Transformer"), r"a custom_st\.Transfor"),
    "layer": (entry(2, type="sentence_transformers.models.CNN"), r"models\.CNN layer is not supp"),
    "order": (of_bert(NORMALIZE, pooling()), "order Transformer, Normalize, Pooling"),
    "layer before the pooling": (of_bert(dense(), pooling()), "order Transformer, Dense, Pooling"),
    "pooling": (changed(POOL, pooling_mode="first"), "pooling 'first' is not supported"),
    "normalised tokens": (
        changed("2_Normalize/config.json", module_input_name="token_embeddings"),
        "\"module_input_name\" of 'token_embeddings'",
    ),
    "activation": (of_bert(pooling(), dense(activation_function="x.Tanh")), r"'x\.Tanh'"),
    "dense of other vectors": (of_bert(pooling(), dense(8, 16)), '"in_features" is 16, and the'),
    "task": (changed(LENGTH, transformer_task="fill-mask"), "\"transformer_task\" of 'fill-mask'"),
    "chat": (changed(LENGTH, modality_config={"message": {}}), '"modality_config" says that'),
    "length of queries": (changed(LENGTH, query_length=8), '"query_length" of 8'),
    "another tokenizer": (
        changed(LENGTH, tokenizer_name_or_path="a/b"),
        '"tokenizer_name_or_path"',
    ),
    "sparse": (changed(USE, model_type="SparseEncoder"), "a model of type SparseEncoder"),
    "manhattan": (changed(USE, similarity_fn_name="manhattan"), '"manhattan" distance'),
    "unknown similarity": (changed(USE, similarity_fn_name="angle"), "is none of cosine, dot"),
    "default prompt": (changed(USE, default_prompt_name="x"), "names none of its prompts"),
    "numbers to keep": (changed(USE, truncate_dim=0), '"truncate_dim" must be a whole number'),
    "adapter of another kind": (adapter(peft_type="IA3"), "of type IA3. Only plain LoRA"),
    "adapter with magnitudes": (adapter(use_dora=True), '"use_dora". Only plain LoRA'),
    "adapter with biases": (adapter(bias="all"), '"bias". Only plain LoRA'),
    "adapter of nothing": (adapter(base_model_name_or_path=None), "no .base_model_name_or_path"),
    "adapter with an expression": (adapter(alpha_pattern={"(a+)+": 1}), "has expressions"),
    "adapter with a word": (adapter(lora_alpha="much"), 'alpha" or "alpha_pattern" is odd'),
    "pickled adapter": (adapter("adapter_model.bin"), "pickled weights can run code"),
    "chat template without modules": (chat, "without a modules.json.*Set model.pooling"),
    "causal language model without modules": (causal, r"Set model\.pooling: last"),
    "pickled layer": (pickled, r"2_Dense/model\.safetensors is missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_named(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    with pytest.raises(ConfigError, match=words) as caught:
        open_model(str(make(tmp_path / "model")))
    message = str(caught.value)
    assert str(tmp_path) in message and "\n" not in message and len(message) < 700


def test_an_option_says_what_a_folder_leaves_open(tmp_path: Path) -> None:
    far = str(changed(USE, similarity_fn_name="manhattan")(tmp_path / "far"))
    with pytest.raises(UnsupportedModel, match=r"model\.normalize=true to compare them by cosine"):
        Encoder.load(far)
    assert Encoder.load(ModelConfig(far, normalize=False)).recipe.similarity == "dot"
    talk = str(chat(tmp_path / "talk"))
    assert Encoder.load(ModelConfig(talk, pooling="last")).recipe.pooling == "last"


def test_a_length_beyond_the_positions_is_cut_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sentence(bert(tmp_path / "model"), reading={"max_seq_length": 514})
    encoder = Encoder.load(str(folder))
    assert encoder.recipe.max_length == 64
    assert capsys.readouterr().err.count("514 tokens are read") == 1
    assert np.isfinite(encoder.encode(TEXTS)).all()


def test_a_table_of_words_has_no_layers_for_a_lora(tmp_path: Path) -> None:
    folder = static()(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"model\.lora_rank=4: .* word vectors without linear"):
        Encoder.load(ModelConfig(str(folder), lora_rank=4))


def test_a_router_cannot_be_trained_and_says_so(tmp_path: Path) -> None:
    folder = router(tmp_path / "model")
    assert isinstance(open_model(str(folder)), Towers)
    with pytest.raises(UnsupportedModel, match="a model with one encoder for both sides"):
        Encoder.load(str(folder))
    shutil.rmtree(folder / "query_1_Pooling")
    with pytest.raises(ConfigError, match=r"query_1_Pooling"):
        open_model(str(folder))


def test_what_is_no_model_is_answered_with_what_to_give(tmp_path: Path) -> None:
    folder = bert(tmp_path / "run" / "checkpoint-5")
    for name, words in {
        str(folder / "config.json"): f"is a file. Give its folder: {folder}",
        str(tmp_path / "run"): f"Give the folder of one model in it, such as {folder}.",
        str(tmp_path): f"such as {folder}.",
        "https://huggingface.co/owner/name/tree/main": "Give the model's name: owner/name",
        "": "model.name is empty. Name a model",
        "owner/name@v1": "write model.name=owner/name model.revision=v1",
    }.items():
        with pytest.raises(ConfigError, match=re.escape(words)):
            find_folder(ModelConfig(name=name))
