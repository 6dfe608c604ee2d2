"""A BERT model with a WordPiece vocabulary as a GGUF file for llama.cpp's embedding mode.

The keys and tensor names are those that llama.cpp reads (its documentation of GGUF; the package
gguf lists them). Two things differ from the model's own folder: a piece that begins a word carries
U+2581 in front and one that continues it loses its ##; and there are as many positions as the model
reads tokens, so that the runtime's limit is the model's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from whet.errors import ConfigError
from whet.model.encoder import Encoder

TYPES = ("f16", "q8_0")
GGUF_POOLINGS = {"mean": "MEAN", "cls": "CLS", "last": "LAST"}
KEPT_IN_F32 = ("position_embd.weight", "token_types.weight")  # as llama.cpp's own converter does
UNUSED = ("pooler.", "embeddings.position_ids")
BLOCK = 32  # weights that share a scale in q8_0


def check_gguf(encoder: Encoder) -> None:
    """Refuse (ConfigError) what llama.cpp would not read, or would read as another model."""
    config: Any = encoder.backbone.config
    recipe, rules = encoder.recipe, getattr(encoder.tokenizer, "backend_tokenizer", None)
    pieces = json.loads(rules.to_str()) if rules is not None else {"model": {}}
    more = {
        "a matrix after the pooling": encoder.matrix is not None,
        "layers after the pooling": len(encoder.layers) > 0,
        f"{recipe.pooling} pooling": recipe.pooling not in GGUF_POOLINGS,
        "vectors that are cut": recipe.truncate is not None,
        "lower case before its tokenizer": recipe.lower_case,
    }
    described = [config.model_type, str(pieces["model"].get("type"))]
    architecture = ", ".join([*described, *(what for what, there in more.items() if there)])
    if (
        architecture != "bert, WordPiece"
        or (pieces.get("normalizer") or {}).get("type") != "BertNormalizer"
    ):
        raise ConfigError(
            f"formats=[gguf] writes BERT models with a WordPiece vocabulary (MiniLM, bge, e5), and "
            f"this model is {architecture}. Leave gguf out; onnx takes it."
        )
    if config.hidden_act not in ("gelu", "gelu_new", "gelu_pytorch_tanh"):
        raise ConfigError(
            f"formats=[gguf]: llama.cpp computes BERT with gelu, and this model has "
            f"{config.hidden_act}. Leave gguf out; onnx takes it."
        )


def write_gguf(encoder: Encoder, path: Path, kind: str) -> None:
    """Write the encoder with matrices of `kind`: f16, or q8_0 (8 bits, a scale for 32 weights)."""
    import gguf

    writer = gguf.GGUFWriter(path, "bert")
    _write_shape(writer, encoder, kind)
    _write_vocabulary(writer, encoder)
    for name, weight in _weights(encoder):
        if weight.ndim == 1 or name in KEPT_IN_F32:
            writer.add_tensor(name, weight)
        # A scale is shared by 32 weights of a row: rows that 32 does not divide stay f16.
        elif kind == "q8_0" and weight.shape[1] % BLOCK == 0:
            packed = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, weight.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_shape(writer: Any, encoder: Encoder, kind: str) -> None:
    import gguf

    config: Any = encoder.backbone.config
    pooling = GGUF_POOLINGS[encoder.recipe.pooling]
    types = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
    writer.add_file_type(gguf.LlamaFileType[types[kind]])
    writer.add_context_length(encoder.recipe.max_length)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType[pooling])
    writer.add_token_type_count(config.type_vocab_size)


def _write_vocabulary(writer: Any, encoder: Encoder) -> None:
    import gguf

    tokenizer = encoder.tokenizer
    normalizer = json.loads(tokenizer.backend_tokenizer.to_str())["normalizer"]
    lowercase = bool(normalizer["lowercase"])
    strips = normalizer["strip_accents"]
    special = set(tokenizer.all_special_ids)
    config: Any = encoder.backbone.config
    pieces = {row: piece for piece, row in tokenizer.get_vocab().items()}
    texts, kinds = [], []
    for row in range(config.vocab_size):
        piece = pieces.get(row)
        if piece is None:
            # Rows of the embedding without a piece: llama.cpp wants a token for each.
            texts.append(f"[PAD{row}]")
            kinds.append(gguf.TokenType.UNUSED)
        elif row in special:
            texts.append(piece)
            kinds.append(gguf.TokenType.CONTROL)
        else:
            # llama.cpp marks beginnings of words (U+2581), where WordPiece marks what goes on (##).
            texts.append(piece[2:] if piece.startswith("##") else f"\u2581{piece}")
            kinds.append(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", lowercase)
    writer.add_bool(
        "tokenizer.ggml.normalizer.strip_accents", lowercase if strips is None else bool(strips)
    )
    writer.add_bos_token_id(tokenizer.cls_token_id)
    writer.add_sep_token_id(tokenizer.sep_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_mask_token_id(tokenizer.mask_token_id)


def _weights(encoder: Encoder) -> Iterator[tuple[str, np.ndarray]]:
    """Names in GGUF and float32 values; positions as many as the model reads tokens."""
    import gguf

    layers: int = encoder.backbone.config.num_hidden_layers  # type: ignore[union-attr,assignment]
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
    for torch_name, tensor in encoder.backbone.state_dict().items():
        if torch_name.startswith(UNUSED):
            continue
        name = names.get_name(torch_name, try_suffixes=(".weight", ".bias"))
        assert name is not None, torch_name
        weight = tensor.float().numpy()
        if name == "position_embd.weight":
            weight = weight[: encoder.recipe.max_length]
        yield name, np.ascontiguousarray(weight)
