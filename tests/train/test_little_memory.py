"""Little memory: layers computed again, and passes that do not fit tried again in smaller ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from whet.config import DataConfig, EncodeConfig, FitConfig, ModelConfig, TrainerConfig
from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.data.splits import training_qrels
from whet.errors import ConfigError, EnvironmentRefused
from whet.model.activations import is_recomputed, recompute, token_bytes, tokens_that_fit
from whet.model.encoder import Encoder
from whet.model.inference import encode_texts
from whet.training.batches.examples import Examples
from whet.training.batches.order import Order
from whet.training.module import Contrastive
from whet.training.strategies import strategy_of
from whet.training.trainer import Ticks, quietly, trainer_of

CPU = torch.device("cpu")
BATCH = 13


def trained(tiny_data: Path, tiny_model: Path, folder: Path, **options: Any) -> Contrastive:
    """A module after two steps with dropout."""
    config = FitConfig(
        data=DataConfig(path=str(tiny_data)), model=ModelConfig(name=str(tiny_model), dropout=0.1)
    )
    most, recomputed = options.pop("holds", None), options.pop("recomputed", "auto")
    config.loss = replace(config.loss, **options)
    config.trainer = replace(
        config.trainer, batch_size=BATCH, max_steps=2, activation_checkpointing=recomputed
    )
    data = load_dataset(str(tiny_data))
    qrels = training_qrels(data, "train")
    positives = positives_of(qrels, data.queries, data.corpus)
    examples = Examples(qrels, positives, queries=data.queries, corpus=data.corpus)
    encoder = Encoder.load(config.model)
    if most is not None:
        encoder.backbone.register_forward_pre_hook(memory_of(most), with_kwargs=True)
    strategy = strategy_of(config.strategy, config.trainer.gradient_clip_val)
    module = Contrastive(encoder, examples, Order(len(examples), BATCH, 0), config, strategy)
    trainer = trainer_of(config, folder, strategy, [], 2)
    quietly(trainer.fit, module, torch.utils.data.DataLoader(Ticks(), batch_size=None))
    return module


def memory_of(tokens: int) -> Callable[..., None]:
    """As a device whose memory holds so many tokens of one forward pass, padding counted: errors by
    turns as a GPU's and a CPU's, the latter a real one.
    """
    raised = [0]

    def refuse(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].numel() <= tokens:
            return
        raised[0] += 1
        if raised[0] % 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        torch.empty(1 << 60, dtype=torch.uint8)

    return refuse


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """But for BERT's pooler, which the folder has not and which decides no vector."""
    there, here = one.state_dict(), other.state_dict()
    names = {name for name in there if not name.startswith("backbone.pooler.")}
    return bool(names) and all(torch.equal(there[name], here[name]) for name in names)


@pytest.mark.parametrize("loss", [{}, {"cache": "always", "chunk_tokens": 64}])
def test_layers_computed_again_give_the_same_weights(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, loss: dict[str, Any]
) -> None:
    """Dropout included, and inside of cached chunks, which are computed again themselves."""
    plain = trained(tiny_data, tiny_model, tmp_path, recomputed="never", **loss)
    again = trained(tiny_data, tiny_model, tmp_path, recomputed="always", **loss)
    assert is_recomputed(again.encoder) and not is_recomputed(plain.encoder)
    assert again.last_loss == plain.last_loss
    assert same_weights(plain.encoder, again.encoder)


def kept_bytes(encoder: Encoder, texts: int) -> int:
    """Bytes that a forward keeps for its backward, weights not counted."""
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.full((texts, 32), 7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = encoder.train().backbone(input_ids=ids)
    assert held is not None
    return sum(kept.values())


def test_a_layer_computed_again_keeps_its_input_alone(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    before = kept_bytes(encoder, 8), token_bytes(encoder, CPU, "32-true")
    recompute(encoder, TrainerConfig(activation_checkpointing="always"))
    after = kept_bytes(encoder, 8), token_bytes(encoder, CPU, "32-true")
    inputs = 2 * 8 * 32 * 32 * 4  # layers, texts, tokens, dimensions, bytes
    assert before[0] > 8 * after[0] and inputs <= after[0] < 3 * inputs
    assert before[1] == 2 * 32 * 68 and after[1] == 2 * 32 * 4 + 32 * 68


@pytest.mark.parametrize(("fitting", "recomputed"), [(31, True), (32, False)])
def test_layers_are_computed_again_where_one_text_would_not_fit(
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fitting: int,
    recomputed: bool,
) -> None:
    """The longest text has 32 tokens."""
    encoder = Encoder.load(str(tiny_model))
    room = int((fitting + 0.5) * token_bytes(encoder, CPU, "32-true") / 0.3)
    monkeypatch.setattr("whet.model.activations.host_bytes", lambda: room)
    assert tokens_that_fit(encoder, CPU, "32-true") == fitting
    recompute(encoder, TrainerConfig())
    assert is_recomputed(encoder) == recomputed
    assert ("A text of 32 tokens does not fit" in capsys.readouterr().err) == recomputed


def test_a_model_that_cannot_is_refused_by_name(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    encoder.backbone.supports_gradient_checkpointing = False  # type: ignore[assignment]
    recompute(encoder, TrainerConfig())  # nobody asked
    with pytest.raises(ConfigError, match=r"model cannot compute its layers again"):
        recompute(encoder, TrainerConfig(activation_checkpointing="always"))


def test_a_step_that_does_not_fit_is_done_in_smaller_passes(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first step on: so all is as if these passes had been asked for."""
    small = trained(tiny_data, tiny_model, tmp_path, holds=150)
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "does not fit" in text][-1:]
    assert small.most_tokens is not None and small.most_tokens <= 150
    assert f"loss.chunk_tokens={small.most_tokens} does so from the start" in line
    asked = trained(tiny_data, tiny_model, tmp_path, cache="always", chunk_tokens=small.most_tokens)
    assert same_weights(small.encoder, asked.encoder)


@pytest.mark.parametrize("options", [{"holds": 9}, {"holds": 150, "cache": "never"}])
def test_a_step_that_cannot_be_made_smaller_is_refused(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(EnvironmentRefused, match=r"Step 0 does not fit .*activation_checkpointing"):
        trained(tiny_data, tiny_model, tmp_path, **options)


def made(encoder: Encoder, texts: Sequence[str], tokens: int | None = None) -> np.ndarray:
    return encode_texts(encoder, texts, "document", EncodeConfig(batch_tokens=tokens))


def test_texts_that_do_not_fit_at_once_are_encoded_in_smaller_batches(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = Encoder.load(str(tiny_model))
    texts = [" ".join(["bace"] * (1 + row % 29)) for row in range(60)]
    wanted = made(encoder, texts)
    small = copy.deepcopy(encoder)
    small.backbone.register_forward_pre_hook(memory_of(100), with_kwargs=True)
    found = made(small, texts, 800)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    lines = [line for line in capsys.readouterr().err.splitlines() if "do not fit" in line]
    assert [line.split()[0] for line in lines] == ["775", "372", "186"]  # whole texts of 31
    assert "batch_tokens=93 takes" in lines[-1]
    refusal = r"A text of 31 tokens, or a .* does not fit in memory. Cut texts with model.max_len"
    small.backbone.register_forward_pre_hook(memory_of(30), with_kwargs=True)
    with pytest.raises(EnvironmentRefused, match=refusal):
        made(small, texts)
