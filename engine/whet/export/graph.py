"""A model as an ONNX file, and that file with weights of eight bits.

Shape suffixes: B texts, L tokens, D dimensions.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from whet.errors import WhetError
from whet.model.encoder import Encoder

OUTPUTS = (
    "last_hidden_state",
    "sentence_embedding",
)  # the first is what sentence-transformers reads
OPSET = 18  # onnxruntime since 1.14 (2023) reads it
TOKEN_TYPES = "token_type_ids"


class Graph(nn.Module):
    """What is written: token ids and their mask in, token vectors and the finished vector out."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Token vectors [B, L, D] and vectors [B, D]."""
        types = {} if token_type_ids is None else {TOKEN_TYPES: token_type_ids}
        token_BLD = self.encoder.backbone(
            input_ids=input_ids, attention_mask=attention_mask, **types
        ).last_hidden_state
        return token_BLD, self.encoder.pool(token_BLD, attention_mask)


def input_names(encoder: Encoder) -> list[str]:
    """The inputs of the graph; token types only where tokenizer and transformer both know them."""
    names = ["input_ids", "attention_mask"]
    takes = inspect.signature(encoder.backbone.forward).parameters
    if TOKEN_TYPES in encoder.tokenizer.model_input_names and TOKEN_TYPES in takes:
        names.append(TOKEN_TYPES)
    return names


def write_onnx(encoder: Encoder, path: Path) -> None:
    """Write an encoder as float32 ONNX with any number of texts and tokens; over 2 GB the weights
    lie in a file beside it. WhetError for a transformer that torch cannot draw as a graph.
    """
    ids_BL = torch.ones((2, min(8, encoder.recipe.max_length)), dtype=torch.long)
    mask_BL = torch.ones_like(ids_BL)
    mask_BL[1, -1] = 0
    names = input_names(encoder)
    inputs = (ids_BL, mask_BL, torch.zeros_like(ids_BL))[: len(names)]
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                Graph(encoder).eval(),
                inputs,
                input_names=names,
                output_names=list(OUTPUTS),
                dynamic_shapes=tuple(sizes for _ in names),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # a dozen unrelated types, of many lines each
        kind = encoder.backbone.config.model_type  # type: ignore[union-attr]
        raise WhetError(
            f"torch cannot write a model of type {kind} as ONNX ({type(error).__name__}). Leave "
            "onnx and int8 out of formats."
        ) from error
    assert program is not None
    program.save(path)


def write_int8(source: Path, path: Path) -> None:
    """Write an ONNX file with its weights in eight bits, one scale per column; activations follow
    while it runs.

    Unsigned weights: products of signed ones overflow on CPUs that have AVX2 and no VNNI. One scale
    per column loses half as much as one per matrix (all-MiniLM-L6-v2, 400 texts: mean cosine to the
    float32 vectors 0.992 and 0.979).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            source,
            path,
            weight_type=QuantType.QUInt8,
            per_channel=True,
            use_external_data_format=source.with_name(f"{source.name}.data").is_file(),
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on parts that no text model has."""
    level = logging.getLogger().level
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in (*loggers, logging.getLogger()):
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger().setLevel(level)
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)
