"""The pretended device refuses what CUDA refuses, lets pass what CUDA lets pass, and counts."""

import os

import numpy as np
import pytest
import torch
from pretend_cuda import DeviceError, pretend_cuda
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


@pytest.fixture
def gpu():
    with pretend_cuda((__name__,)) as there:
        yield there


REFUSED = {
    "two devices": lambda x: x + torch.ones(5),
    "two devices in place": lambda x: x.add_(torch.ones(5)),
    "numpy": lambda x: x.numpy(),
    "numpy of a view": lambda x: np.asarray(x[:2]),
    "index of the device into the host": lambda x: torch.ones(4)[
        torch.zeros(2, dtype=torch.long).cuda()
    ],
    "where": lambda x: torch.where(x > 0, x, torch.zeros(4, 5)),
    "cat": lambda x: torch.cat([x, torch.zeros(1, 5)]),
    "matmul": lambda x: x @ torch.zeros(5, 2),
    "linear": lambda x: torch.nn.Linear(5, 2)(x),
    "masked_fill": lambda x: x.masked_fill(torch.zeros(4, 5, dtype=torch.bool), 0.0),
    "embedding": lambda x: torch.nn.Embedding(3, 2)(torch.zeros(2, dtype=torch.long).cuda()),
    "out": lambda x: torch.mm(x, x.T, out=torch.empty(4, 4)),
    "pinned": lambda x: x.pin_memory(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(gpu, name):
    with pytest.raises((DeviceError, TypeError, RuntimeError)):
        REFUSED[name](torch.ones(4, 5, device="cuda"))


ALLOWED = {
    "a number": lambda x: x * torch.tensor(2.0),
    "an index of the host": lambda x: x[torch.tensor([0, 1])],
    "a slice set from the host": lambda x: x.__setitem__(slice(0, 2), torch.ones(2, 5)),
    "one_hot": lambda x: F.one_hot(torch.zeros(3, dtype=torch.long, device="cuda"), 4) == 1,
    "cross_entropy": lambda x: F.cross_entropy(x, torch.zeros(4, dtype=torch.long, device="cuda")),
    "attention": lambda x: F.scaled_dot_product_attention(
        *(torch.ones(1, 2, 4, 8, device="cuda"),) * 3
    ),
    "sorting": lambda x: x.sort(1).values.topk(2).indices + x.argsort(stable=True)[:, :2],
    "segments": lambda x: torch.segment_reduce(x[:, 0], "sum", lengths=torch.tensor([1, 3]).cuda()),
    "searching": lambda x: torch.searchsorted(x[0].contiguous(), x[1].contiguous()),
    "unique": lambda x: x.unique(return_inverse=True),
    "norm": lambda x: torch.linalg.vector_norm(x, dim=1) + x.new_zeros(4),
    "layer_norm": lambda x: torch.nn.LayerNorm(5).cuda()(x),
    "out": lambda x: torch.mm(x, x.T, out=torch.empty(4, 4, device="cuda")),
    "views": lambda x: x[:2].mul_(0).sum() + x.view(-1)[:3].sum(),
    "int8": lambda x: torch._int_mm(*(torch.ones(32, 32, dtype=torch.int8).cuda(),) * 2),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed_and_stays_there(gpu, name):
    found = ALLOWED[name](torch.rand(4, 5, device="cuda"))
    if isinstance(found, torch.Tensor):
        assert found.device == torch.device("cuda", 0)


def test_training(gpu):
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)
    ).to("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    before = [p.detach().cpu() for p in model.parameters()]
    for _ in range(2):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            found = model(torch.rand(4, 6).to("cuda"))
            assert (
                found.dtype == torch.bfloat16 and F.layer_norm(found, (2,)).dtype == torch.float32
            )
        found.float().sum().backward()
        assert torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).device.type == "cuda"
        optimizer.step()
        optimizer.zero_grad()
    assert all(
        (a != p.detach().cpu()).any() for a, p in zip(before, model.parameters(), strict=True)
    )


def test_a_module_goes_to_the_device_and_back(gpu):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    for device in ("cuda", "cpu", "cuda"):
        module.to(device)
        parts = [*module.parameters(), *module.buffers()]
        assert {part.device.type for part in parts} == {device}
        assert isinstance(module[0].weight, torch.nn.Parameter)


def test_numbers_are_those_of_the_host(gpu):
    there, here = torch.rand(3, 4, device="cuda"), None
    here = there.cpu()
    assert torch.equal((there @ there.T).cpu(), here @ here.T)


def test_the_device_has_a_generator_of_its_own(gpu):
    torch.manual_seed(0)
    first = torch.rand(3, device="cuda").cpu()
    torch.manual_seed(0)
    torch.rand(7)  # of the host
    assert torch.equal(torch.rand(3, device="cuda").cpu(), first)
    state = torch.cuda.get_rng_state()
    second = torch.rand(3, device="cuda").cpu()
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(3, device="cuda").cpu(), second)


@pytest.mark.parametrize("tensor_argument", [True, False])
def test_checkpoint_knows_the_device_by_its_arguments(gpu, tensor_argument):
    """torch keeps the generators of devices that an argument is on, and of no others."""
    given = torch.ones(200, device="cuda", requires_grad=True)
    seen = []

    def dropped(x=None):
        found = F.dropout(given if x is None else x, 0.5)
        seen.append(found.detach().cpu())
        return found.exp()

    (
        checkpoint(dropped, given, use_reentrant=False)
        if tensor_argument
        else checkpoint(dropped, use_reentrant=False)
    ).sum().backward()
    assert torch.equal(*seen) == tensor_argument


def test_what_is_counted(gpu):
    x = torch.ones(4, device="cuda")
    host = torch.ones(4)
    counted = {
        "item": lambda: float(x.sum()),
        "truth": lambda: bool((x > 0).all()),
        "nonzero": lambda: x.nonzero(),
        "mask": lambda: x[x > 0],
        "to host": lambda: x.cpu(),
        "to device": lambda: host.to("cuda"),
        "list": lambda: x.tolist(),
    }
    for name, action in counted.items():
        with gpu.during(name):
            action()
        assert gpu.waits(name) == 1, name
    pinned = host.pin_memory()
    with gpu.during("free"):
        y = pinned.to("cuda", non_blocking=True)
        (y * 2 + 1).relu()
    assert (gpu.waits("free"), gpu.launches("free")) == (0, 3)
    with gpu.during("wide"):
        x.double().sum()
        x.sum()
    assert (gpu.wide("wide"), gpu.wide("free")) == (2, 0)
    assert "test_pretend_cuda.py" in gpu.report()


def test_a_generator_of_the_device_draws_for_it(gpu):
    first, second = (torch.Generator(device="cuda").manual_seed(3) for _ in range(2))
    assert first.device.type == "cuda" and torch.Generator().device.type == "cpu"
    drawn = torch.rand(5, device="cuda", generator=first)
    assert drawn.device.type == "cuda"
    assert torch.equal(drawn.cpu(), torch.rand(5, device="cuda", generator=second).cpu())
    assert torch.randint(9, (4,), device="cuda", generator=first).device.type == "cuda"


def test_inference_mode_is_a_context_and_a_decorator(gpu):
    given = torch.ones(2, device="cuda", requires_grad=True)
    with torch.inference_mode():
        assert not (given * 2).requires_grad
        with torch.inference_mode(False):
            pass
    for decorated in (torch.inference_mode, torch.inference_mode()):
        assert not decorated(lambda: given * 2)().requires_grad
    assert torch.inference_mode(False)(lambda: given * 2)().requires_grad


def test_triton_refuses_memory_of_the_host(gpu, monkeypatch):
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("TRITON_INTERPRET=1 is read when triton is first imported")
    pytest.importorskip("triton")
    import triton_kernel_for_tests as kernels

    x, out = torch.arange(8.0).cuda(), torch.empty(8, device="cuda")
    kernels.double[(1,)](x, out, N=8)
    assert out.cpu().tolist() == [2.0 * n for n in range(8)]
    with pytest.raises(DeviceError):
        kernels.double[(1,)](x, torch.empty(8), N=8)


def test_all_is_as_before_at_the_end():
    before = torch.cuda.is_available, torch.autocast, torch.inference_mode
    with pretend_cuda():
        assert torch.cuda.is_available()
    assert (torch.cuda.is_available, torch.autocast, torch.inference_mode) == before
    assert not torch.cuda.is_available()
