"""Every address that a kernel touches in the interpreter is looked at (conftest.py); and a bound
that is missing in a real kernel is found.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("triton")

from whet_kernels.infonce import triton_kernels

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not triton_kernels.INTERPRETING, reason="Triton's interpreter alone"),
]
BOUND = "tl.store(out_rw, weight_rw.to(out_ptr.dtype.element_ty), mask=inside_rw)"


def kernels_without_a_bound(folder: Path) -> ModuleType:
    """The kernels of the loss, whose last store writes whole blocks."""
    text = Path(triton_kernels.__file__).read_text(encoding="utf-8")
    assert text.count(BOUND) == 1
    path = folder / "unbound.py"
    path.write_text(text.replace(BOUND, BOUND.replace(", mask=inside_rw", "")), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("unbound", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weights(kernels: ModuleType) -> torch.Tensor:
    """Of five rows and seven columns, which fill no block."""
    row_RD, walked_WD = (torch.full((count, 8), 0.25) for count in (5, 7))
    found: torch.Tensor = kernels.weights(row_RD, walked_WD, torch.zeros(5), None, 1.0)
    return found


def test_a_missing_bound_is_found(tmp_path, bounds):
    from triton.runtime.errors import InterpreterError

    assert weights(triton_kernels).shape == (5, 7)
    assert bounds.checked
    said = r"OutOfBounds.*_weights_kernel: a store of 4 bytes .* is in no tensor"
    with pytest.raises(InterpreterError, match=said):
        weights(kernels_without_a_bound(tmp_path))
