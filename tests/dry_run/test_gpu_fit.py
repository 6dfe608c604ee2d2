"""`whet fit`, stopped and gone on with, and `whet plan` on a GPU that is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_training import Place, config_of
from pretend_cuda import Gpu, pretend_cuda

from whet.config import FitConfig, RefreshConfig
from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.data.splits import splits_of
from whet.model.encoder import Encoder
from whet.plan import make
from whet.plan.table import plan_text
from whet.plan.workload import Split
from whet.verbs.fit import Run, fit_job

STEPS = 4


class Lost(Exception):
    """The process is gone."""


def job(model: Path, data: Path, folder: Path, **options: Any) -> FitConfig:
    """Four steps, new negatives and a checkpoint after two; everything in float32."""
    config = config_of(model, data, precision="32-true", **options)
    config.encode = replace(config.encode, precision="fp32")
    config.refresh = RefreshConfig(policy="steps", every_n_steps=2)
    config.output = str(folder)
    config.select.policy = "last"
    config.trainer = replace(
        config.trainer,
        batch_size=8,
        max_steps=STEPS,
        checkpoint_every_steps=2,
        learning_rate=1e-3,
        log_every_n_steps=1,
    )
    return config


def vectors(run: Run) -> np.ndarray:
    """What the tuned model makes of a few words, on the host."""
    config = job(run.model, run.model, run.folder).encode
    return Encoder.load(str(run.model)).encode(["bace difo", "guka"], config=config)


def test_a_fit_makes_the_model_that_a_cpu_makes(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """Judged, mined, trained, refreshed, kept, judged again and saved."""
    cpu = fit_job(job(tiny_model, tiny_data, tmp_path / "cpu", dropout=0.0))
    with pretend_cuda() as gpu:
        run = fit_job(job(tiny_model, tiny_data, tmp_path / "gpu", dropout=0.0))
        assert sum(n for (_, name), n in gpu.launched.items() if name == "_fused_adamw_")
    assert np.abs(vectors(run) - vectors(cpu)).max() < 1e-4
    base = Encoder.load(str(tiny_model)).encode(["bace difo", "guka"])
    assert np.abs(vectors(run) - base).max() > 1e-2  # it learned


@pytest.mark.slow
def test_a_fit_that_was_stopped_ends_as_one_that_was_not(
    gpu: Gpu, tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, state of the optimizer and dropout come back on the device."""
    whole = fit_job(job(tiny_model, tiny_data, tmp_path / "whole", dropout=0.2))
    config = job(tiny_model, tiny_data, tmp_path / "stopped", dropout=0.2)
    from whet.plan.forecast import Forecast

    done: list[float] = []

    def third(forecast: Forecast, seconds: float) -> None:
        done.append(seconds)
        if len(done) == 3:
            raise Lost

    with monkeypatch.context() as patch:
        patch.setattr(Forecast, "step_done", third)
        with pytest.raises(Lost):
            fit_job(config)
    config.resume = config.output
    resumed = fit_job(config)
    ours, theirs = (Encoder.load(str(run.model)) for run in (resumed, whole))
    assert ours.fingerprint() == theirs.fingerprint()


@pytest.mark.parametrize("accelerator", ["gpu", pytest.param("cpu", marks=pytest.mark.slow)])
def test_a_plan_counts_the_memory_of_the_device(gpu: Gpu, place: Place, accelerator: str) -> None:
    config = config_of(
        place.model, place.data, batch_size=8, max_steps=STEPS, accelerator=accelerator
    )
    data = load_dataset(config.data.path)
    train, judged = splits_of(data, config)
    split = Split(train, judged, positives_of(train, data.queries, data.corpus))
    plan = make.make_plan(data, split, Encoder.load(config.model), config, load_s=0.0)
    assert plan.machine.has_gpu == (accelerator == "gpu")
    assert ("GPU-hours" in plan_text(plan)) == plan.machine.has_gpu
    parts = plan.footprints[plan.chosen].device
    assert ("step or search" in parts) != plan.machine.has_gpu  # one memory, or two
    if plan.machine.has_gpu:
        assert plan.machine.device_bytes > 130 << 30
