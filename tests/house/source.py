"""The source files of the packages, parsed, for the rules of the house."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("engine/whet", "kernels/whet_kernels", "launch/whet_launch", "conf/whet_conf")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file: its path from the repository's root, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    def functions(self) -> list[tuple[str, Function]]:
        """Every function and method with the name a reader would give it: `Encoder.save`."""
        found: list[tuple[str, Function]] = []

        def walk(node: ast.AST, prefix: str) -> None:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, Function):
                    found.append((prefix + child.name, child))
                    walk(child, f"{prefix}{child.name}.<locals>.")
                elif isinstance(child, ast.ClassDef):
                    walk(child, f"{prefix}{child.name}.")
                else:
                    walk(child, prefix)

        walk(self.tree, "")
        return found


@functools.cache
def sources() -> list[Source]:
    """Every Python file of the packages."""
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    texts = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return [Source(str(path.relative_to(ROOT)), text, ast.parse(text)) for path, text in texts]
