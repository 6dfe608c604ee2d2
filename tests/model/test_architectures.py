"""Every kind of transformer that the documentation lists: sentence-transformers' vectors before
training and after, of texts long and short.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strangers import SIZE, SMALL, TEXTS, difference, learn, pooling, seeded, sentence, tokenizer

from whet.config import ModelConfig
from whet.errors import ConfigError
from whet.model.encoder import Encoder

# Name of the class, what its configuration says beside SMALL, how its vectors are pooled.
T5 = {"d_model": SIZE, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
T5 |= {"decoder_start_token_id": 0}
GROUPED = {"num_key_value_heads": 1, "head_dim": 16}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("BertModel", {}, "mean"),
    "roberta": ("RobertaModel", {"max_position_embeddings": 66}, "mean"),
    "xlm-roberta": ("XLMRobertaModel", {"max_position_embeddings": 66}, "cls"),
    "camembert": ("CamembertModel", {"max_position_embeddings": 66}, "mean"),
    "mpnet": ("MPNetModel", {"max_position_embeddings": 66, "pad_token_id": 1}, "mean"),
    "distilbert": (
        "DistilBertModel",
        {"dim": SIZE, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
        "mean",
    ),
    "albert": ("AlbertModel", {"embedding_size": 16}, "cls"),
    "electra": ("ElectraModel", {"embedding_size": 16}, "mean"),
    "deberta-v2": (
        "DebertaV2Model",
        {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]},
        "mean",
    ),
    "modernbert": (
        "ModernBertModel",
        {"global_attn_every_n_layers": 2, "local_attention": 16, "cls_token_id": 2}
        | {"sep_token_id": 3},
        "cls",
    ),
    "nomic_bert": ("NomicBertModel", {}, "mean"),
    "t5": ("T5EncoderModel", T5, "mean"),
    "mt5": ("MT5EncoderModel", T5, "mean"),
    "umt5": ("UMT5EncoderModel", T5, "mean"),
    "gpt2": ("GPT2Model", {"n_embd": SIZE, "n_layer": 2, "n_head": 2, "n_positions": 64}, "last"),
    "gpt_neox": ("GPTNeoXModel", {}, "weightedmean"),
    "opt": ("OPTModel", {"ffn_dim": 64, "word_embed_proj_dim": SIZE}, "last"),
    "llama": ("LlamaModel", GROUPED, "last"),
    "mistral": ("MistralModel", {**GROUPED, "sliding_window": 16}, "last"),
    "qwen2": ("Qwen2Model", {"num_key_value_heads": 1}, "last"),
    "qwen3": ("Qwen3Model", GROUPED, "last"),
    "gemma": ("GemmaModel", GROUPED, "last"),
    "gemma3_text": (
        "Gemma3TextModel",
        {**GROUPED, "use_bidirectional_attention": True, "sliding_window": 16},
        "mean",
    ),
}
OF_T5 = ("t5", "mt5", "umt5")
QUICK = ("bert", "roberta", "modernbert", "t5", "qwen3")
EACH = [
    name if name in QUICK else pytest.param(name, marks=[pytest.mark.slow, pytest.mark.nightly])
    for name in ARCHITECTURES
]


def write(folder: Path, name: str) -> Path:
    """A folder whose tokenizer says no limit of its own."""
    import transformers

    kind, change, mode = ARCHITECTURES[name]
    shape = {key: SMALL[key] for key in ("vocab_size", "pad_token_id")} if name in OF_T5 else SMALL
    model = getattr(transformers, kind)
    seeded(lambda: model(model.config_class(**{**shape, **change}))).save_pretrained(folder)
    tokenizer(folder, most=None)
    sentence(folder, [("Transformer", None, {}), pooling(mode)], reading={})
    return folder


@pytest.mark.parametrize("name", EACH)
def test_vectors_are_those_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", name)
    # The longest text goes beyond any table of positions, where there is one.
    texts = [*TEXTS[:4], TEXTS[4][:40]]
    encoder = Encoder.load(str(folder))
    assert difference(folder, encoder, texts) < 1e-5
    assert np.isfinite(encoder.encode([TEXTS[4]])).all()
    before = encoder.encode(TEXTS)
    learn(encoder)
    saved = encoder.save(tmp_path / "saved")
    assert difference(saved, encoder) < 1e-5  # of the long text as well
    again = Encoder.load(str(saved))
    assert again.fingerprint() == encoder.fingerprint() and again.recipe == encoder.recipe
    assert np.abs(before - again.encode(TEXTS)).max() > 1e-4


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "albert", "t5", "qwen3"])
def test_a_lora_is_on_what_the_vector_comes_from(name: str, tmp_path: Path) -> None:
    """Not on BERT's pooler, for whose gradient several processes would wait."""
    encoder = Encoder.load(ModelConfig(str(write(tmp_path / "model", name)), lora_rank=2))
    learn(encoder)
    learn(encoder)  # the first step moves one of the two matrices alone
    assert difference(encoder.save(tmp_path / "saved"), encoder) < 1e-5


@pytest.mark.parametrize(
    ("name", "first"), [("roberta", 1), ("mpnet", 2), ("bert", 0), ("gpt2", 0), ("opt", 0)]
)
def test_positions_begin_where_the_transformer_counts_from(
    name: str, first: int, tmp_path: Path
) -> None:
    encoder = Encoder.load(str(write(tmp_path / "model", name)))
    rows = int(encoder.backbone.config.max_position_embeddings)  # type: ignore[union-attr,arg-type]
    assert encoder.recipe.max_length == rows - first


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("BartModel", {"d_model": SIZE, "encoder_layers": 1, "decoder_layers": 1}, "type bart has"),
        (
            "XLNetModel",
            {"d_model": SIZE, "n_layer": 1, "n_head": 2, "d_inner": 64},
            "of type xlnet",
        ),
    ],
)
def test_a_transformer_that_wants_more_than_a_text_is_refused(
    kind: str, config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    import transformers

    made: Callable[..., Any] = getattr(transformers, kind)
    settings = made.config_class(vocab_size=SMALL["vocab_size"], **config)  # type: ignore[attr-defined]
    seeded(lambda: made(settings)).save_pretrained(tmp_path)
    tokenizer(tmp_path)
    if kind == "XLNetModel":
        _number_the_parts(tmp_path)
    with pytest.raises(ConfigError, match=words) as caught:
        Encoder.load(str(sentence(tmp_path)))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def _number_the_parts(folder: Path) -> None:
    """As XLNet's tokenizer does, for which the first token is a part of its own."""
    path = folder / "tokenizer.json"
    import json

    said = json.loads(path.read_text())
    said["post_processor"]["single"][0]["SpecialToken"]["type_id"] = 2
    path.write_text(json.dumps(said))


def test_the_documentation_lists_them() -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(ARCHITECTURES)
