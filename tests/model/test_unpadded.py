"""Texts without padding between them give the vectors and gradients of padded ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_architectures import write

from whet.config import ModelConfig, TrainerConfig
from whet.loss.gradcache import chunked_vectors
from whet.model.activations import recompute
from whet.model.encoder import Encoder
from whet.model.parts import unpadded

sys.path.append(str(Path(__file__).parents[1] / "dry_run"))
import flash_on_host

WORDS = "bace difo guka lemi".split()
TEXTS = [" ".join(WORDS * count) for count in (9, 1, 4, 6)]  # over the windows of local attention
KINDS = sorted(unpadded.FROM_ZERO | unpadded.FROM_PADDING | unpadded.DECODERS)
QUICK = ("bert", "roberta", "modernbert", "mistral")
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]


@contextmanager
def unpadding(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a CPU, by its stand-in for the kernel, in 32 bits as well."""
    with monkeypatch.context() as patch, flash_on_host.flash_on_host():
        patch.setattr("whet.model.encoder.unpads", lambda backbone, _: unpadded._head(backbone) > 0)
        patch.setattr(flash_on_host, "HALF", (*flash_on_host.HALF, torch.float32))
        yield


def gradient_of(encoder: Encoder, tokens: list[list[int]], *, seed: int = 3) -> torch.Tensor:
    """Of all weights, one behind the other, in those of a loss that every number has a part in."""
    encoder.zero_grad()
    torch.manual_seed(seed)
    vector_BD = encoder.forward_tokens(tokens)
    (vector_BD * torch.linspace(-1, 2, vector_BD.numel()).view_as(vector_BD)).sum().backward()
    return torch.cat([p.grad.float().ravel() for p in encoder.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", EACH)
def test_vectors_and_gradients_are_those_of_padded_texts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(str(write(tmp_path / "model", name)))
    tokens = encoder.tokenize(TEXTS, "document")
    wanted_BD, wanted_W = encoder.forward_tokens(tokens).detach(), gradient_of(encoder, tokens)
    with unpadding(monkeypatch):
        ours_BD, ours_W = encoder.forward_tokens(tokens).detach(), gradient_of(encoder, tokens)
    assert not torch.equal(ours_BD, wanted_BD)  # it was another attention
    assert (ours_BD - wanted_BD).abs().max() < 1e-5
    assert (ours_W - wanted_W).abs().max() < 1e-4 * wanted_W.abs().max()
    assert torch.equal(encoder.forward_tokens(tokens), wanted_BD)  # and goes on padded as before


def test_in_16_bits_it_is_as_near_as_padded_attention(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(str(tiny_model))
    narrow = encoder.in_16_bits(torch.bfloat16)
    tokens = encoder.tokenize(TEXTS, "document")
    with torch.no_grad():
        exact_BD, padded_BD = encoder.forward_tokens(tokens), narrow.forward_tokens(tokens)
        with unpadding(monkeypatch):
            ours_BD = narrow.forward_tokens(tokens)
    assert 0 < (ours_BD - exact_BD).norm() <= 1.5 * (padded_BD - exact_BD).norm()


def with_dropout(encoder: Encoder) -> Encoder:
    """In training; of the attention's shares as well."""
    for module in encoder.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    return encoder


@pytest.fixture
def narrow(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model)).in_16_bits(torch.bfloat16)


def test_layers_computed_again_draw_the_same_dropout(
    narrow: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = narrow.tokenize(TEXTS, "document")
    with unpadding(monkeypatch):
        with_dropout(narrow)
        kept_W = gradient_of(narrow, tokens)
        assert not torch.equal(kept_W, gradient_of(narrow, tokens, seed=4))
        recompute(narrow, TrainerConfig(activation_checkpointing="always", accelerator="cpu"))
        assert torch.equal(gradient_of(narrow, tokens), kept_W)


def test_cached_chunks_draw_the_same_dropout(
    narrow: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GradCache's second forward is the first one."""
    tokens = narrow.tokenize(TEXTS, "document")
    chunks = [np.array([0, 2]), np.array([1, 3])]
    found: list[torch.Tensor] = []
    with unpadding(monkeypatch):
        with_dropout(narrow)
        for cached in (False, True):
            narrow.zero_grad()
            torch.manual_seed(5)
            vector_ND = chunked_vectors(
                lambda rows: narrow.forward_tokens([tokens[row] for row in rows]),
                chunks,
                cached=cached,
                device=torch.device("cpu"),
            )
            (vector_ND[:, 3].sum() + vector_ND[0].square().sum() * 2).backward()
            grads = [p.grad.ravel() for p in narrow.parameters() if p.grad is not None]
            found.append(torch.cat(grads))
    assert torch.equal(*found)


def test_low_rank_updates_learn_through_it(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(ModelConfig(str(tiny_model), lora_rank=2)).in_16_bits(torch.bfloat16)
    tokens = encoder.tokenize(TEXTS, "document")
    padded_W = gradient_of(encoder, tokens)
    with unpadding(monkeypatch):
        ours_W = gradient_of(encoder, tokens)
    assert 0 < (ours_W - padded_W).norm() <= 0.03 * padded_W.norm()


def test_a_prompt_that_is_not_counted_is_read(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the other tokens of its text, and not by the pooling."""
    encoder = Encoder.load(ModelConfig(str(tiny_model), document_prompt="bace difo "))
    encoder.recipe = replace(encoder.recipe, include_prompt=False)
    narrow = encoder.in_16_bits(torch.bfloat16)
    tokens = narrow.tokenize(TEXTS, "document")
    assert min(map(min, tokens)) < 0
    with torch.no_grad(), unpadding(monkeypatch):
        ours_BD = narrow.forward_tokens(tokens)
    with torch.no_grad():
        assert (ours_BD - encoder.forward_tokens(tokens)).abs().max() < 0.02


@pytest.mark.parametrize("name", ["mpnet", "t5", "gpt2"])
def test_a_model_of_another_kind_stays_padded(name: str, tmp_path: Path) -> None:
    """MPNet and T5 add numbers by distance to the scores, which the kernel cannot."""
    assert unpadded._head(Encoder.load(str(write(tmp_path / "model", name))).backbone) == 0


def test_what_is_like_none_of_them_stays_padded(tiny_model: Path) -> None:
    backbone = Encoder.load(str(tiny_model)).backbone
    assert unpadded._head(backbone) > 0
    for attribute, value in (
        ("model_type", "bert-like"),
        ("hidden_size", 34),  # heads of 17
        ("_attn_implementation", "eager"),
    ):
        before = getattr(backbone.config, attribute)
        setattr(backbone.config, attribute, value)
        assert unpadded._head(backbone) == 0, attribute
        setattr(backbone.config, attribute, before)
    foreign = type("Foreign", (type(backbone),), {"__module__": "modeling_foreign"})
    backbone.__class__ = foreign  # code that comes with a model
    assert unpadded._head(backbone) == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nA trace"), "Ampere"),
        (TypeError("unexpected keyword"), "unexpected keyword"),
        (None, "apart from plain"),
    ],
)
def test_a_kernel_that_fails_or_computes_wrong_is_told_in_a_line(
    fault: Exception | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def wrong(*parts: torch.Tensor, **_: object) -> torch.Tensor:
        if fault:
            raise fault
        return parts[2] * 1.0

    monkeypatch.setattr(unpadded, "flash", wrong)
    works = unpadded._works.__wrapped__
    assert not works(torch.device("cpu"), torch.bfloat16, 8)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Texts are padded") and words in line


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_kernel_that_works_is_found_to(size: int, dtype: torch.dtype) -> None:
    """Without a random number drawn."""
    before = torch.get_rng_state()
    with flash_on_host.flash_on_host(), torch.inference_mode():
        assert unpadded._works.__wrapped__(torch.device("cpu"), dtype, size)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_cpu_pads(tiny_model: Path) -> None:
    """Its vectors are what they were before."""
    encoder = Encoder.load(str(tiny_model))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not unpadded.unpads(encoder.backbone, encoder.device)
    encoder.encode(TEXTS)
    assert encoder.backbone.config._attn_implementation == "sdpa"
