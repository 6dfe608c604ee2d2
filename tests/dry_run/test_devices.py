"""Which device and precision are chosen with a GPU, without one, and on request."""

from __future__ import annotations

import pytest
import torch
from pretend_cuda import Gpu, pretend_cuda

from whet.config import EncodeConfig, TrainerConfig
from whet.errors import EnvironmentRefused
from whet.processes.devices import (
    choose_device,
    choose_precision,
    training_device,
    training_precision,
)
from whet_kernels.infonce.fused import choose_loss_backend, fused_info_nce
from whet_kernels.topk.gpu.search import mine_topk_gpu
from whet_kernels.topk.search import fits_on_gpu
from whet_kernels.topk.window import window_of

CPU = torch.device("cpu")


def test_with_a_gpu_it_is_taken(gpu: Gpu) -> None:
    assert choose_device(EncodeConfig()) == training_device(TrainerConfig())
    assert choose_device(EncodeConfig(device="cuda:0")).type == "cuda"
    assert choose_device(EncodeConfig(device="cpu")) == CPU
    assert training_device(TrainerConfig(accelerator="cpu")) == CPU
    assert choose_precision(EncodeConfig(), choose_device(EncodeConfig())) == "bf16"
    assert training_precision(TrainerConfig()) == "bf16-mixed"


def test_an_old_gpu_has_no_bfloat16(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_precision(EncodeConfig(), choose_device(EncodeConfig())) == "fp16"
    assert training_precision(TrainerConfig()) == "32-true"


def test_without_a_gpu_one_that_is_asked_for_is_refused() -> None:
    assert choose_device(EncodeConfig()) == training_device(TrainerConfig()) == CPU
    with pytest.raises(EnvironmentRefused, match=r"encode\.device=cuda"):
        choose_device(EncodeConfig(device="cuda"))
    with pytest.raises(EnvironmentRefused, match=r"trainer\.accelerator=gpu"):
        training_device(TrainerConfig(accelerator="gpu"))


def test_without_a_gpu_no_kernel_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from whet_kernels.topk.gpu import search

    monkeypatch.setattr(search, "INTERPRET", False)
    vector_ND = torch.ones(3, 4).numpy()
    assert not fits_on_gpu(vector_ND)
    with pytest.raises(RuntimeError, match="needs a CUDA GPU"):
        mine_topk_gpu(vector_ND, vector_ND, 1, window_of(3, 3))


def test_the_loss_goes_where_its_vectors_are(gpu: Gpu) -> None:
    cuda = torch.device("cuda", 0)
    assert choose_loss_backend("auto", cuda, torch.float32)[0] == "triton"
    assert choose_loss_backend("auto", cuda, torch.float64)[0] == "torch"
    assert choose_loss_backend("auto", CPU, torch.float32)[0] == "torch"


@pytest.mark.parametrize("side", ["documents", "types"])
def test_vectors_on_two_devices_are_refused(gpu: Gpu, side: str) -> None:
    query_BD, doc_CD = torch.ones(2, 4).cuda(), torch.ones(3, 4)
    doc_CD = doc_CD if side == "documents" else doc_CD.cuda().double()
    known = torch.tensor([0, 1, 2]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="Bring both to one type and device"):
        fused_info_nce(query_BD, doc_CD, torch.tensor([0, 1]), known, temperature=1.0)


def test_columns_beyond_the_documents_are_refused_on_either_device(gpu: Gpu) -> None:
    known = torch.tensor([0, 1, 2]), torch.tensor([0, 1])
    for device in ("cpu", "cuda"):
        vector_BD = torch.ones(2, 4, device=device)
        column_B = torch.tensor([0, 9], device=device)
        with pytest.raises((ValueError, RuntimeError), match="must lie in 0 to 1"):
            fused_info_nce(vector_BD, vector_BD, column_B, known, temperature=1.0)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_the_fused_loss_is_the_same_on_both_devices(backend: str) -> None:
    """Triton's kernels run in its interpreter for either."""
    vector_BD = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    listed = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2])

    def loss(device: str) -> float:
        query_BD, doc_CD = vector_BD.to(device), vector_BD.flip(0).to(device)
        column_B, *known = (part.to(device) for part in (torch.arange(3), *listed))
        found = fused_info_nce(
            query_BD, doc_CD, column_B, tuple(known), temperature=0.1, backend=backend
        )
        return float(found)

    here = loss("cpu")
    with pretend_cuda():
        assert loss("cuda") == pytest.approx(here, rel=1e-5)


@pytest.mark.parametrize("kind", ["float64", "host"])
def test_kernels_of_the_loss_refuse_what_they_cannot_take(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from whet_kernels.infonce import triton_kernels

    monkeypatch.setattr(triton_kernels, "INTERPRETING", False)
    vector_RD = torch.ones(2, 4) if kind == "host" else torch.ones(2, 4).cuda().double()
    with pytest.raises(ValueError, match=r"Choose backend=torch"):
        triton_kernels.prepare(vector_RD)


def test_without_a_gpu_the_interpreter_searches_on_the_host() -> None:
    vector_ND = torch.eye(4).numpy()
    found = mine_topk_gpu(vector_ND[:1], vector_ND, 1, window_of(1, 4))
    assert found.rows_Qk.tolist() == [[0]]
