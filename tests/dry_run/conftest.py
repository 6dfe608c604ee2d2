"""What the dry run's tests share: a GPU that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from gpu_training import Place
from pretend_cuda import Gpu, pretend_cuda
from quick_interpreter import quick_interpreter

quick_interpreter()

if torch.cuda.is_available():
    collect_ignore_glob = ["test_*.py"]  # the real one is better


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """A pretended CUDA device for one test."""
    from whet_kernels.topk.gpu import search

    # Triton's interpreter takes memory of the host; here it is given what claims to be a device's.
    monkeypatch.setattr(search, "INTERPRET", False)
    with pretend_cuda() as device:
        yield device


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judgments are learned from in four steps: it is about where tensors are."""
    from whet.feedback.learn import adapt

    monkeypatch.setattr(adapt, "MATRIX_STEPS", 4)
    monkeypatch.setattr(adapt, "STEPS", 4)
    monkeypatch.setattr(adapt, "EPOCHS", 1)


@pytest.fixture
def place(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> Place:
    """What a training takes, and where it writes."""
    return Place(tiny_model, tiny_data, tmp_path)
