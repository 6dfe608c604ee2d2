"""One real tune, which tests that need a version copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from labelling import tuned_folder


@pytest.fixture(scope="session")
def tuned_once(tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of feedback with version 1 in it. Not to be written to: `tuned` is."""
    folder: Path = tuned_folder(
        tiny_data, tiny_model, tmp_path_factory.mktemp("tuned") / "feedback"
    )
    return folder


@pytest.fixture
def tuned(tuned_once: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(tuned_once, tmp_path / "tuned"))
