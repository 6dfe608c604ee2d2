"""Tests marked `gpu` need one; the others run in Triton's interpreter without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec

import pytest
import torch


@pytest.fixture(autouse=True)
def bounds() -> Iterator[object]:
    """Where kernels run in Triton's interpreter, every address they touch is looked at."""
    looks = nullcontext()
    if find_spec("triton") and not torch.cuda.is_available():
        from triton_bounds import checked_bounds

        looks = checked_bounds()
    with looks as seen:
        yield seen


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a GPU the tests marked `gpu` are left out."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))
