"""The versions a bug report needs, read without loading anything."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import whet.version
from whet.run.checkout import commit_here


def version_line() -> str:
    """What `whet --version` prints, on one line."""
    commit = commit_here()
    parts = [
        f"whet {whet.version.VERSION}{f' ({commit[:8]})' if commit else ''}",
        f"Python {platform.python_version()}",
        _torch(),
    ]
    for name in ("lightning", "transformers", "faiss-cpu", "faiss-gpu-cu12"):
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(parts)


def _torch() -> str:
    """torch and its CUDA, from the file in which torch keeps them: importing it takes seconds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "no torch"
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(__version__|cuda)\b[^=\n]*= '([^']*)'", text, re.MULTILINE))
    cuda = f"CUDA {values['cuda']}" if "cuda" in values else "no CUDA"
    return f"torch {values.get('__version__', 'unknown')} ({cuda})"
