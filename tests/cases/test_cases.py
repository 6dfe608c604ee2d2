"""Inputs of strangers, and faults: each case is a script here that says what must be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NO_CASES = ("harness", "test_cases", "test_page_cases")
# many commands one after another, or a long wait, half a minute and more each; quick tests ask the
# same of the functions: test_broken_folders.py, test_killed_verbs.py, test_connections.py,
# test_strangers.py, test_conventions.py and others
LONG = (
    "cache_flip",
    "data_of_strangers",
    "fit_slurm",
    "folder_trust",
    "lora_two_processes",
    "mine_again",
    "model_broken_files",
    "model_missing_weights",
    "model_nan",
    "models_of_others",
    "page_all_interfaces",
    "page_idle_connections",
    "queries_that_are_documents",
    "refused_after_the_work",
    "weights_for_others",
)
ALL = [
    pytest.param(path, marks=[pytest.mark.nightly] if path.stem in LONG else [], id=path.stem)
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem not in NO_CASES
]
OF_THE_PAGE = [case for case in ALL if str(case.id).startswith("page_")]  # test_page_cases.py
CASES = [case for case in ALL if case not in OF_THE_PAGE]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_all_is_as_it_must_be(case: Path, shared: Path) -> None:
    run_case(case, shared)


def run_case(case: Path, shared: Path) -> None:
    """Run a case's script; what all of them make once lies in `shared`."""
    done = subprocess.run(
        [sys.executable, "-B", str(case)],
        env={**os.environ, "WHET_CASES": str(shared)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
