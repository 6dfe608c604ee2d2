"""The versions a bug report needs, read without loading anything."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import whet.version


def version_line() -> str:
    """What `whet --version` prints, on one line."""
    parts = [
        f"whet {whet.version.VERSION}{_commit()}",
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


def _commit() -> str:
    """The commit of the checkout this runs from; empty where it runs from an installed copy."""
    root = Path(whet.__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" ({done.stdout.strip()})"
