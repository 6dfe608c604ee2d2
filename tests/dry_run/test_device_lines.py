"""Which lines count as depending on the device, and that the dry run reaches nearly all of them."""

from __future__ import annotations

import textwrap

import pytest
from device_lines import ROOT, device_lines, measure

SHARE = 0.9


def lines(text: str) -> tuple[list[int], list[int]]:
    """Of a text whose first line is number 1: those that branch, and those that use."""
    found = device_lines(textwrap.dedent(text).lstrip("\n"))
    return sorted(found.branches), sorted(found.uses)


@pytest.mark.parametrize(
    ("text", "branches", "uses"),
    [
        ("x = torch.cuda.is_available()", [], []),  # outside of functions: imports run it
        ("def f(device: torch.device): pass", [], []),
        ("def f(x):\n    return x.to(device)", [], [2]),
        ("def f(x):\n    y: device = 1\n    return y", [], []),
        ("def f(x):\n    return 1 if x.is_cuda else 2", [2], [2]),
        ("def f(x):\n    return [y for y in x if y.device]", [2], [2]),
        ("def f(x):\n    if x.is_cuda:\n        y = 1\n    else:\n        y = 2", [2, 3, 5], [2]),
        ("def f(x):\n    if gpu:\n        return 1\n    y = 2\n    return y", [2, 3, 4], [2]),
        ("def f(x):\n    while on_gpu:\n        for y in x:\n            g(y)", [2, 3, 4], [2]),
        ("def f(x):\n    if x == 'cuda':\n        g()\n    h()", [2, 3], [2]),
        ("@triton.jit\ndef f(x):\n    if device:\n        g()", [], []),
        ("def f(x):\n    def g(y):\n        return y.cuda()\n    return g", [], [3]),
    ],
)
def test_what_counts(text: str, branches: list[int], uses: list[int]) -> None:
    assert lines(text) == (branches, uses)


@pytest.mark.parametrize(
    "name", ["engine/whet/processes/devices.py", "kernels/whet_kernels/topk/gpu/search.py"]
)
def test_the_files_that_choose_a_device_have_some(name: str) -> None:
    found = device_lines((ROOT / name).read_text(encoding="utf-8"))
    assert found.branches and found.uses


@pytest.mark.slow
@pytest.mark.nightly  # the whole dry run, watched
@pytest.mark.timeout(900)
def test_the_dry_run_reaches_them() -> None:
    coverage = measure()
    for kind in ("branches", "all"):
        assert coverage.share(kind) >= SHARE, coverage.report()
