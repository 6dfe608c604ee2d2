"""Tests marked `gpu` need one; the others run in Triton's interpreter without."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "dry_run"))
from quick_interpreter import quick_interpreter

quick_interpreter()


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
    """Without a GPU the tests marked `gpu` are left out, and with an interpreter that does not run
    the others, too.
    """
    if torch.cuda.is_available():
        return
    broken = _broken_interpreter()
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))
        elif broken and item.get_closest_marker("kernel"):
            item.add_marker(pytest.mark.skip(reason=broken))


def _broken_interpreter() -> str:
    """What to do about an interpreter that takes numpy's arrays of one number for numbers, as that
    of Triton 3.6 does; "" for one that works.
    """
    if find_spec("triton") is None:
        return ""
    triton, numpy = (tuple(map(int, version(name).split(".")[:2])) for name in ("triton", "numpy"))
    if triton >= (3, 9) or numpy < (2, 4):
        return ""
    return "Triton before 3.9 does not interpret with numpy 2.4: pip install 'triton>=3.9'"
