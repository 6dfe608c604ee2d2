"""What the dry run's tests share: a GPU that is not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pretend_cuda import Gpu, pretend_cuda

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
