"""Inputs of strangers, and faults: each case is a script here that says what must be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NO_CASES = ("harness", "test_cases")
CASES = sorted(path for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_CASES)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_all_is_as_it_must_be(case: Path, shared: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", str(case)],
        env={**os.environ, "WHET_CASES": str(shared)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
