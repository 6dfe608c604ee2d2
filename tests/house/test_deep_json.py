"""JSON nested too deep ends in a RecursionError, not a ValueError: who expects one expects both."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def handlers() -> Iterator[tuple[str, set[str]]]:
    """Where the errors of json.loads are caught, and which."""
    for path in sorted([*ROOT.glob("engine/**/*.py"), *ROOT.glob("launch/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Try):
                continue
            body = " ".join(ast.unparse(part) for part in node.body)
            if "json.loads(" not in body and "raw_decode(" not in body:
                continue
            caught = {
                name.id
                for handler in node.handlers
                if handler.type is not None
                for name in ast.walk(handler.type)
                if isinstance(name, ast.Name)
            }
            yield f"{path.relative_to(ROOT)}:{node.lineno}", caught


def test_who_catches_one_catches_the_other() -> None:
    found = dict(handlers())
    assert len(found) > 10
    bad = {
        place: caught
        for place, caught in found.items()
        if "ValueError" in caught and not {"RecursionError", "Exception"} & caught
    }
    assert not bad
