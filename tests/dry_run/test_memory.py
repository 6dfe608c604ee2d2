"""What of a step fits on a GPU that is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pretend_cuda import Gpu, OnDevice
from transformers import BertConfig, BertModel

from whet.model.activations import chunk_tokens, token_bytes, tokens_that_fit
from whet.model.encoder import Encoder

HIDDEN, HEADS, LENGTH = 64, 2, 16
DROPOUT_MASKS = 2  # bytes per unit and layer: one a sublayer, which a CPU keeps in another way
CUDA = torch.device("cuda")


def encoder_of(model: Path, *, layers: int, attention: str) -> Encoder:
    """A BERT of so many layers on the device, without dropout, for texts of 16 tokens."""
    encoder = Encoder.load(str(model))
    encoder.backbone = BertModel(
        BertConfig(
            vocab_size=100,
            hidden_size=HIDDEN,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            intermediate_size=4 * HIDDEN,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            attn_implementation=attention,
        ),
        add_pooling_layer=False,
    ).train()
    encoder.recipe = replace(encoder.recipe, max_length=LENGTH)
    return encoder.to(CUDA)


def kept_bytes(encoder: Encoder, texts: int, precision: str) -> int:
    """What autograd keeps of a forward on the device, weights left out, each storage once."""
    weights = {part.held.untyped_storage().data_ptr() for part in encoder.parameters()}  # type: ignore[attr-defined]
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = (tensor.held if isinstance(tensor, OnDevice) else tensor).untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(5, 90, (texts, LENGTH)).cuda()
    casts = torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bf16-mixed")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), casts:
        encoder.backbone(input_ids=ids)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_activations_are_counted_by_precision_and_attention(
    gpu: Gpu, tiny_model: Path, precision: str, attention: str
) -> None:
    """What a layer adds for each further text: at most what is counted, and not a tenth less."""
    kept: dict[tuple[int, int], int] = {}
    for layers in (2, 4):
        encoder = encoder_of(tiny_model, layers=layers, attention=attention)
        for texts in (2, 6):
            kept[layers, texts] = kept_bytes(encoder, texts, precision)
    added = (kept[4, 6] - kept[4, 2]) - (kept[2, 6] - kept[2, 2])
    a_layer = added / (2 * 4 * LENGTH) + DROPOUT_MASKS * HIDDEN
    counted = token_bytes(encoder, CUDA, precision) / 4
    assert 0.9 * counted < a_layer < 1.01 * counted


@pytest.mark.parametrize(
    ("gib", "precision", "chunk"),
    [(139, "bf16-mixed", 65_536), (79, "32-true", 65_536), (24, "bf16-mixed", 16_384)],
)
def test_chunks_are_larger_on_a_large_gpu(
    gpu: Gpu,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    gib: int,
    precision: str,
    chunk: int,
) -> None:
    memory: Any = SimpleNamespace(total_memory=gib << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: memory)
    encoder = Encoder.load(str(tiny_model))
    assert chunk_tokens(encoder, CUDA, precision) == chunk
    fitting = tokens_that_fit(encoder, CUDA, precision)
    assert fitting * token_bytes(encoder, CUDA, precision) > 0.8 * (gib << 30)


def test_a_model_that_fills_the_gpu_goes_in_small_chunks(
    gpu: Gpu, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, gradients and optimizer are held first; three tenths of the memory at least are for
    activations, since a strategy may divide the others.
    """
    encoder = Encoder.load(str(tiny_model))
    memory: Any = SimpleNamespace(total_memory=sum(p.numel() for p in encoder.parameters()) * 18)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: memory)
    fitting = int(0.3 * memory.total_memory / token_bytes(encoder, CUDA, "bf16-mixed"))
    assert tokens_that_fit(encoder, CUDA, "bf16-mixed") == fitting
    assert chunk_tokens(encoder, CUDA, "bf16-mixed") == max(1, fitting)
