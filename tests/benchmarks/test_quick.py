"""Every script of benchmarks/ runs to its end in its --quick mode, and writes nothing down."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
ELSEWHERE = {"mine/run.py": "tests/mine/test_mine_benchmark.py"}  # which also reads its results
BATTERY = ("gpu/run.py", "gpu/make_gpu.py")
TIME = 250
WRITTEN = (".jsonl", ".json", ".csv", ".md", ".svg")


def _is_script(tree: ast.Module) -> bool:
    """Whether the file does something when it is run, and is not only imported by one."""
    return any(
        isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body
    )


def _scripts() -> list[str]:
    paths = sorted(FOLDER.rglob("*.py"))
    return [
        path.relative_to(FOLDER).as_posix()
        for path in paths
        if _is_script(ast.parse(path.read_text(encoding="utf-8")))
    ]


SCRIPTS = _scripts()


def _has_quick(tree: ast.Module) -> bool:
    """Whether a parser is given the option, by the script itself or by tiny.add_option."""
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(
        call.startswith(("tiny.add_option(", "parser.add_argument('--quick'")) for call in calls
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_has_a_quick_mode(script: str) -> None:
    text = (FOLDER / script).read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert _has_quick(tree), f"{script} needs --quick: see benchmarks/tiny.py"
    assert f"python benchmarks/{script} --quick" in (ast.get_docstring(tree) or "")


def test_the_readme_lists_every_script() -> None:
    readmes = (FOLDER / "README.md", FOLDER / "mine" / "README.md")
    told = "".join(path.read_text(encoding="utf-8") for path in readmes)
    assert [script for script in SCRIPTS if Path(script).name not in told] == []


def _kept() -> dict[Path, bytes]:
    """What a benchmark could write: its records, and the results of mining."""
    files = [*(FOLDER / "records").rglob("*"), *(FOLDER / "mine").iterdir()]
    return {path: path.read_bytes() for path in files if path.is_file() and path.suffix in WRITTEN}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny model is kept for the next script."""
    return tmp_path_factory.mktemp("shared")


def _each() -> list[Any]:
    """The scripts run here; the battery's take minutes, and its rehearsal is nightly, too."""
    return [
        pytest.param(name, marks=[pytest.mark.nightly] if name in BATTERY else [])
        for name in SCRIPTS
        if name not in ELSEWHERE
    ]


@pytest.mark.slow
@pytest.mark.parametrize("script", _each())
def test_a_quick_run_ends_well_and_keeps_nothing(script: str, shared: Path, tmp_path: Path) -> None:
    before = _kept()
    code, said = _run(script, shared, tmp_path)
    assert code == 0, said[-6000:]
    assert "A quick run: everything ran" in said or "left out: everything" in said
    assert _kept() == before
    assert list(tmp_path.iterdir()) == [], "leaves something behind"


def _run(script: str, shared: Path, folder: Path) -> tuple[int, str]:
    """Exit code and all output; at the end of its time whatever it started ends with it."""
    process = subprocess.Popen(
        [sys.executable, "-B", str(FOLDER / script), "--quick"],
        cwd=folder,
        env={**os.environ, "WHET_CASES": str(shared)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=TIME)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
