"""Small functions, short modules, and errors that say what to do; ruff and mypy see to the rest."""

from __future__ import annotations

import ast

import pytest
from source import Source, sources

import whet.errors

LONGEST_FUNCTION = 60
LONGEST_MODULE = 400
MOST_POSITIONAL = 5
REFUSES_TARGETS = "launch/whet_launch/options/recipes.py"
HOLE = "{}"  # what an f-string fills in
each_file = pytest.mark.parametrize("source", sources(), ids=lambda source: source.path)


@each_file
def test_functions_are_short(source: Source) -> None:
    lengths = {name: node.end_lineno - node.lineno + 1 for name, node in source.functions()}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}


@each_file
def test_modules_are_short(source: Source) -> None:
    assert source.text.count("\n") <= LONGEST_MODULE


@each_file
def test_few_arguments_are_positional(source: Source) -> None:
    found = {}
    for name, node in source.functions():
        names = [arg.arg for arg in node.args.posonlyargs + node.args.args]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        theirs = _overrides_a_library(source, node) or _is_kernel(node)
        if count > MOST_POSITIONAL and not theirs:
            found[name] = count
    assert found == {}


def _overrides_a_library(source: Source, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Lightning's hooks have the arguments Lightning gives them."""
    return source.path.startswith("engine/whet/training/") and node.name.startswith("on_")


def _is_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Triton knows no keyword-only arguments, and a kernel takes a pointer for every tensor."""
    return any(ast.unparse(mark).startswith("triton.jit") for mark in node.decorator_list)


@each_file
def test_nothing_runs_code_named_in_data(source: Source) -> None:
    assert "_target_" not in source.text or source.path == REFUSES_TARGETS
    for node in ast.walk(source.tree):
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            assert not (isinstance(node.value, ast.Constant) and node.value.value), (
                f"{source.path}:{node.value.lineno} trusts remote code unasked"
            )


ERRORS = {
    name
    for name, kind in vars(whet.errors).items()
    if isinstance(kind, type) and issubclass(kind, whet.errors.WhetError)
}


@each_file
def test_errors_say_what_to_do(source: Source) -> None:
    """A message has over 40 characters and a full stop: what is wrong, and then the remedy.

    What an f-string fills in counts 20 characters; at the end it may be the remedy.
    """
    curt = []
    for node in ast.walk(source.tree):
        call = node.exc if isinstance(node, ast.Raise) else None
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id in ERRORS
        ):
            told = _literal(call.args[0]) if call.args else ""
            if told is not None and (
                len(told.replace(HOLE, " " * 20)) <= 40
                or ("." not in told and not told.endswith(HOLE))
            ):
                curt.append(f"line {call.lineno}: {told}")
    assert curt == []


def _literal(node: ast.expr) -> str | None:
    """The text of a string or f-string; None where the message is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else HOLE for part in node.values]
        return "".join(str(part) for part in parts)
    return None
