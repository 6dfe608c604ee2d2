"""A short fit of a tiny model, with a choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from learnable import Fit, write_set

from whet.config import FitConfig
from whet.config.given import configured


@pytest.fixture(scope="session")
def learnable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """250 documents, 200 train queries."""
    return write_set(tmp_path_factory.mktemp("selection") / "data", 250)


@pytest.fixture
def fit(tiny_model: Path, learnable: Path, tmp_path: Path) -> Fit:
    """A configuration of a short fit; options as `whet.fit` takes them."""

    def make(**options: Any) -> FitConfig:
        config = configured(FitConfig(), {"data": {"path": str(learnable)}})
        config.model.name = str(tiny_model)
        configured(config.mining, {"num_negatives": 1, "backend": "blas"})
        settings = {"max_steps": 16, "batch_size": 16, "learning_rate": 2e-3}
        configured(config.trainer, settings)
        config.logger.name = "none"
        config.guard.max_drop = 1.0
        config.output = str(tmp_path / "run")
        return configured(config, options)

    return make
