"""Training strategies on a GPU that is not there, in a process group of one process.

The group is a real one (gloo), which is given what the pretended device's tensors hold. torch's
fake group, of many processes in one, does for what asks for no number of another process
(`all_vectors` below); DDP asks its backend for results that the fake one does not have. DDP's
buffers are made in C++, which lays them on the host: its copies are no news of a GPU, so the waits
of its steps have no budget here.

DeepSpeed does not train here. It lays parameters into buffers of its own by setting their `data`,
which no wrapper tensor lets it. It is tested on CPUs, by several processes (tests/world).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from gpu_training import Place, Steps, check_steps, check_types, check_waits, config_of
from pretend_cuda import Gpu, pretend_cuda
from torch.testing._internal.distributed.fake_pg import FakeStore

from whet.config import StrategyConfig
from whet.processes import world as worlds
from whet.training.exchange import all_vectors, own_gradient
from whet.training.strategies import strategy_of
from whet.training.strategies.deepspeed import SMALL_BUCKET
from whet.training.strategies.single import process_group_backend


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group of this process."""
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    with worlds.joined():
        yield
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_a_strategy_trains_as_one_process_does(
    group_of_one: None, gpu: Gpu, place: Place, name: str
) -> None:
    """The same losses; and the weights are whole again at the end."""
    alone = check_steps(gpu, place)
    config = config_of(place.model, place.data)
    config.strategy = StrategyConfig(name=name)
    shared = Steps(gpu, config, place.folder, alone.count)
    shared.encoder.to("cuda")  # FSDP moves parameters by setting `data`, as DeepSpeed does
    assert shared.run() == pytest.approx(alone.watch.losses, rel=1e-3)
    check_types(gpu, "step")
    if name == "fsdp":
        check_waits(gpu, 2 * (alone.count - 1))  # of both trainings
    assert shared.whole.at_end is not None
    ours, theirs = (dict(one.named_parameters()) for one in (shared.whole.at_end, alone.encoder))
    for key in (key for key in theirs if "pooler" not in key):  # random where it is not saved
        apart = ours[key].detach().cpu() - theirs[key].detach().cpu()
        if name == "ddp":
            assert float(apart.abs().max()) < 1e-5, key
        elif "key.bias" not in key:  # its gradient is rounding alone, of which AdamW makes steps
            # FSDP rounds weights of norms, too: a small gradient's sign may turn, and its step.
            assert float((apart.abs() > 2e-5).float().mean()) < 1e-3, key
            assert float(apart.abs().mean()) < 1e-6, key


def test_gpus_talk_by_nccl(gpu: Gpu) -> None:
    assert process_group_backend() == "cuda:nccl,cpu:gloo"


def test_vectors_are_exchanged_on_the_device(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a group of eight, of which this process is the first."""
    dist.init_process_group("fake", rank=0, world_size=8, store=FakeStore())
    monkeypatch.setattr(worlds, "_here", replace(worlds.world(), size=8))
    try:
        own_ND = torch.rand(3, 4, device="cuda")
        with gpu.during("exchange"):
            vector_UD = all_vectors(own_ND, 20)
            gradient_ND = own_gradient(vector_UD, own_ND)
        assert vector_UD.shape == (20, 4) and vector_UD.device == own_ND.device
        assert torch.equal(gradient_ND.cpu(), 8 * vector_UD[::8].cpu())
        assert not gpu.waits("exchange"), gpu.report()
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_deepspeed_is_told_of_a_device_that_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Lightning's checks of CUDA's devices are left out for a CPU, and made for a GPU."""
    import deepspeed  # noqa: F401 (before CUDA is pretended: it makes tables of its functions)
    from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy

    called: list[str] = []
    for owner, name in [
        (DDPStrategy, "setup_environment"),
        (DeepSpeedStrategy, "setup_environment"),
        (DeepSpeedStrategy, "setup_distributed"),
        (DeepSpeedStrategy, "_init_deepspeed_distributed"),
        (DeepSpeedStrategy, "set_world_ranks"),
    ]:
        told = f"{owner.__name__}.{name}"
        monkeypatch.setattr(owner, name, lambda self, told=told: called.append(told))
    with pretend_cuda() if kind == "cuda" else nullcontext():
        strategy = strategy_of(StrategyConfig(name="deepspeed"), 1.0)
        device = torch.device(kind, 0)
        strategy.lightning.parallel_devices = [device if kind == "cuda" else torch.device("cpu")]
        monkeypatch.setattr(type(strategy.lightning), "local_rank", 0)
        strategy.lightning.setup_environment()
        strategy.lightning.setup_distributed()
        assert strategy.lightning.root_device == device
        assert strategy.gradient_norm(torch.nn.Linear(1, 1), 1.0).device.type == kind
    small = strategy.lightning.config["zero_optimization"]["reduce_bucket_size"] == SMALL_BUCKET
    assert small == (kind == "cpu")
    if kind == "cuda":
        assert called == [
            f"DeepSpeedStrategy.setup_{what}" for what in ("environment", "distributed")
        ]
    else:
        assert "DeepSpeedStrategy.setup_distributed" not in called
        assert called[0] == "DDPStrategy.setup_environment"
