"""What the installed torch is built for, read without loading it: that takes seconds."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path


def torch_build() -> tuple[str, str | None] | None:
    """torch's version, and the version of CUDA (or ROCm) that it is built for, None for a CPU's;
    None without torch.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(__version__|cuda|hip)\b[^=\n]*= '([^']*)'", text, re.MULTILINE))
    return values.get("__version__", "unknown"), values.get("cuda") or values.get("hip")


def no_gpu() -> bool:
    """True where it is sure that torch finds no GPU; while torch is not loaded, its build says."""
    if "torch" in sys.modules:
        import torch

        return not torch.cuda.is_available()
    build = torch_build()
    return build is not None and build[1] is None
