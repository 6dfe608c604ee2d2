"""One small fit for the tests of bundles, with canaries where private things could leak from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundles import CANARY, SECRETS, fit_words, make_bundle

from whet_launch.cli.main import main


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_model: Path) -> Path:
    """A folder with `data` and `base`, each with its licence."""
    root = tmp_path_factory.mktemp(CANARY)
    shutil.copytree(tiny_data, root / "data")
    shutil.copytree(tiny_model, root / "base")
    (root / "data" / "SOURCE.md").write_text("# Made up\n\nLicence: CC BY-SA 4.0\n")
    (root / "base" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A tiny model\n")
    return root


@pytest.fixture(scope="session")
def run(place: Path) -> Path:
    """The run folder of the fit."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        assert main(fit_words(place, place / "run")) == 0
    return place / "run"


@pytest.fixture(scope="session")
def bundle(run: Path) -> Path:
    """Its bundle, with everything in it that may be."""
    make_bundle(run, run / "bundle", include=["data", "base", "code"])
    return run / "bundle"


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    """The bundle in another folder, to be changed."""
    return Path(shutil.copytree(bundle, tmp_path / "copied"))


@pytest.fixture(scope="session")
def lean(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with data and base model in it, and no code."""
    folder = tmp_path_factory.mktemp("lean") / "bundle"
    make_bundle(run, folder, include=["data", "base"])
    return folder


@pytest.fixture
def forged(lean: Path, tmp_path: Path) -> Path:
    """A copy of that, for a stranger to change."""
    return Path(shutil.copytree(lean, tmp_path / "forged"))
