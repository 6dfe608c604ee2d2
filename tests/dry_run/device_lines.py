"""Which lines of engine/ and kernels/ depend on the device, and which of those the dry run reaches.

    make device-lines       # prints the share, and every line that is not reached

A line is the first of a statement inside of a function. It depends on the device if

- it branches on it: it is an `if` or `while` whose condition names the device, or a statement with
  an `a if CONDITION else b` that does, or a comprehension's `if`;
- it lies in such a branch, on either side; where the branch leaves the block (return, raise, ...)
  the statement after it is the other side;
- it uses it: an expression of it names the device (`x.to(device)`, `torch.cuda.Event()`, ...).

To name the device is to hold one of WORDS as a word of an identifier, or to be "cuda" or "gpu".
Annotations name it without depending on it, and Triton's functions are device code themselves.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("engine/whet", "kernels/whet_kernels")
HERE = "tests/dry_run"
WORDS = {
    *("device", "devices", "cuda", "gpu", "gpus", "autocast", "casting", "pin", "pinned"),
    *("blocking", "streamed", "interpret", "interpreting"),
}
LEAVES = ast.Return | ast.Raise | ast.Continue | ast.Break


@dataclass
class DeviceLines:
    """Line numbers of one file."""

    branches: set[int] = field(default_factory=set)  # conditions, and what they decide about
    uses: set[int] = field(default_factory=set)

    @property
    def all(self) -> set[int]:
        """Both kinds."""
        return self.branches | self.uses


def device_lines(text: str) -> DeviceLines:
    """Those of a file's text.

    >>> found = device_lines('''
    ... def f(x, device: int):
    ...     if device:
    ...         return 1
    ...     return 2
    ... ''')
    >>> sorted(found.branches), sorted(found.uses)
    ([3, 4, 5], [3])
    """
    found = DeviceLines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not _is_device_code(node):
            _look(node.body, found)
    return found


def _is_device_code(function: ast.FunctionDef) -> bool:
    return any("jit" in ast.unparse(mark) for mark in function.decorator_list)


def _look(block: list[ast.stmt], found: DeviceLines) -> None:
    """Note the statements of a block, and those in them."""
    for place, statement in enumerate(block):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue  # seen on its own
        own = list(_own_expressions(statement))
        if any(_names_device(expression) for expression in own):
            found.uses.add(statement.lineno)
        if any(_names_device(condition) for condition in _conditions(statement, own)):
            found.branches.add(statement.lineno)
            found.branches |= _decided(statement, block[place + 1 :])
        for inner in _blocks(statement):
            _look(inner, found)


def _own_expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """What a statement evaluates itself, without annotations and without its blocks."""
    for name, value in ast.iter_fields(statement):
        if name == "annotation":
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.expr):
                yield part
            elif isinstance(part, ast.withitem):
                yield part.context_expr


def _conditions(statement: ast.stmt, own: list[ast.expr]) -> Iterator[ast.expr]:
    if isinstance(statement, ast.If | ast.While | ast.Assert):
        yield statement.test
    for node in (inner for expression in own for inner in ast.walk(expression)):
        if isinstance(node, ast.IfExp):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs


def _decided(statement: ast.stmt, after: list[ast.stmt]) -> set[int]:
    """First lines of all statements on either side of a branch."""
    if not isinstance(statement, ast.If | ast.While):
        return set()
    sides = [*statement.body, *statement.orelse]
    if not statement.orelse and isinstance(statement.body[-1], LEAVES):
        sides += after[:1]
    inside = (node for side in sides for node in ast.walk(side))
    return {node.lineno for node in inside if isinstance(node, ast.stmt)}


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for handler in getattr(statement, "handlers", []):
        yield handler.body


def _names_device(expression: ast.expr) -> bool:
    for node in ast.walk(expression):
        names = {
            ast.Name: "id",
            ast.Attribute: "attr",
            ast.keyword: "arg",
        }
        name = getattr(node, names.get(type(node), ""), None)
        if name and WORDS & set(name.lower().split("_")):
            return True
        if isinstance(node, ast.Constant) and node.value in ("cuda", "gpu"):
            return True
    return False


@dataclass(frozen=True)
class Coverage:
    """Of every file with device lines: those, and the lines that were run."""

    lines: dict[str, DeviceLines]
    run: dict[str, set[int]]

    def share(self, kind: str = "all") -> float:
        """Of the lines of a kind, the share that was run."""
        wanted = {name: getattr(lines, kind) for name, lines in self.lines.items()}
        hits = sum(len(found & self.run.get(name, set())) for name, found in wanted.items())
        return hits / sum(map(len, wanted.values()))

    def report(self) -> str:
        """The shares, and each line that was not run."""
        missed = []
        for name, lines in sorted(self.lines.items()):
            text = (ROOT / name).read_text(encoding="utf-8").splitlines()
            for number in sorted(lines.all - self.run.get(name, set())):
                kind = "branch" if number in lines.branches else "use"
                missed.append(f"{kind:6} {name}:{number}: {text[number - 1].strip()}")
        total = sum(len(lines.all) for lines in self.lines.values())
        shares = ", ".join(f"{kind} {self.share(kind):.1%}" for kind in ("branches", "uses", "all"))
        return "\n".join([*missed, f"reached of {total} device lines: {shares}"])


def lines_of_files() -> dict[str, DeviceLines]:
    """The device lines of every file that has some, by its path in the repository."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    found = {
        path.relative_to(ROOT).as_posix(): device_lines(path.read_text(encoding="utf-8"))
        for path in paths
    }
    return {name: lines for name, lines in found.items() if lines.all}


def measure() -> Coverage:
    """Run the whole dry run but the test of this module, and see which lines it ran.

    RuntimeError with what pytest said if a test fails.
    """
    from coverage import CoverageData

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "coverage"
        command = [sys.executable, "-m", "coverage", "run", f"--data-file={data}"]
        command += [f"--include={','.join(f'{ROOT}/{name}/*' for name in FOLDERS)}"]
        command += ["-m", "pytest", HERE, "-q", f"--ignore={HERE}/test_device_lines.py"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"The dry run fails, so nothing is measured.\n{done.stdout[-6000:]}")
        seen = CoverageData(str(data))
        seen.read()
        run = {
            Path(name).relative_to(ROOT).as_posix(): set(seen.lines(name) or ())
            for name in seen.measured_files()
        }
    return Coverage(lines_of_files(), run)


if __name__ == "__main__":
    print(measure().report())
