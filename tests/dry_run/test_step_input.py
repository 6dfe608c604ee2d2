"""What a step on a GPU that is not there is given, and in which format it multiplies."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gpu_training import Place, Steps, config_of
from pretend_cuda import Gpu

from whet.config import StrategyConfig
from whet.model.encoder import Encoder
from whet.training.batches.examples import Examples
from whet.training.strategies import strategy_of

STEPS = 3


def train(gpu: Gpu, place: Place, **options: Any) -> list[float]:
    """The losses of a few steps."""
    config = config_of(place.model, place.data, **options)
    return Steps(gpu, config, place.folder, STEPS).run()


def test_batches_are_made_beside_the_steps_of_a_gpu(
    gpu: Gpu,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nobody says how many threads: a CPU makes its own. However many, the steps are the same
    to the bit.
    """
    makers, make = Counter[str](), Examples.batch

    def watched(*given: Any) -> Any:
        makers[threading.current_thread().name.partition("_")[0]] += 1
        return make(*given)

    monkeypatch.setattr(Examples, "batch", watched)
    losses = train(gpu, place)
    assert set(makers) == {"batches"}
    for number in (0, 5):
        assert train(gpu, place, num_workers=number) == losses
    makers.clear()
    train(gpu, place, accelerator="cpu")
    assert set(makers) == {"MainThread"}


@pytest.mark.parametrize(
    ("precision", "kind"), [("auto", "bfloat16"), ("32-true", "float32")], ids=["bf16", "float32"]
)
def test_the_loss_by_tiles_multiplies_as_the_step_does(
    gpu: Gpu,
    place: Place,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    kind: str,
) -> None:
    """What the kernels are given, and what the user is told of it."""
    from whet_kernels.infonce import triton_kernels

    given, prepare = Counter[str](), triton_kernels.prepare

    def watched(vector_RD: torch.Tensor) -> torch.Tensor:
        given[str(vector_RD.dtype)] += 1
        return prepare(vector_RD)

    monkeypatch.setattr(triton_kernels, "prepare", watched)
    losses = train(gpu, place, fused="always", precision=precision)
    assert len(losses) == STEPS and set(given) == {f"torch.{kind}"}
    assert f"products in {kind} (triton: " in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_fsdp_gathers_layers_as_the_step_multiplies(
    gpu: Gpu, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """In bf16 where that is the step's, and then a forward is that of autocast, to its rounding."""
    import torch.distributed.fsdp as library

    sharded: dict[Any, dict[str, Any]] = {}
    monkeypatch.setattr(library, "fully_shard", lambda part, **how: sharded.update({part: how}))
    strategy: Any = strategy_of(StrategyConfig(name="fsdp"), 1.0)
    plugin = SimpleNamespace(precision=precision)
    strategy.lightning = SimpleNamespace(root_device=torch.device("cuda"), precision_plugin=plugin)
    encoder = Encoder.load(str(tiny_model)).to("cuda")
    half = precision == "bf16-mixed"

    def vectors() -> torch.Tensor:
        tokens = encoder.tokenize(["bace difo", "guka lemi nopu rase"], "document")
        with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=half):
            return encoder.forward_tokens(tokens)

    cast_BD = vectors()
    strategy.shard(encoder, {"data_parallel": None})
    layers = 2  # of the tiny model
    assert len(sharded) == layers + 1 and "mp_policy" not in sharded.pop(encoder)
    for layer, how in sharded.items():
        policy = how["mp_policy"]
        assert policy.param_dtype == (torch.bfloat16 if half else None)
        assert policy.reduce_dtype == (torch.float32 if half else None)
        layer.to(policy.param_dtype or torch.float32)
    assert float((vectors() - cast_BD).abs().max()) < 5e-3
