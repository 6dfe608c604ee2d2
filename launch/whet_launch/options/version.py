"""The versions a bug report needs, read without loading anything."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import whet.version
from whet.processes.torch_build import torch_build
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
    """torch and its CUDA."""
    build = torch_build()
    if build is None:
        return "no torch"
    version, cuda = build
    return f"torch {version} ({f'CUDA {cuda}' if cuda else 'no CUDA'})"
