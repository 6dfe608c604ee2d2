"""Training steps by Lightning on a GPU that is not there, and a budget of waits per step."""

from __future__ import annotations

from typing import Any

import pytest
from gpu_training import Place, check_resume, check_steps
from pretend_cuda import Gpu

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cached": {"cache": "always", "chunk_tokens": 128},
    "fused": {"matryoshka_dims": [8, 16], "symmetric": True, "fused": "always"},
    "matryoshka": {"matryoshka_dims": [8, 16], "symmetric": True},
    "lora": {"lora_rank": 2},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_step_waits_once(gpu: Gpu, place: Place, name: str) -> None:
    """For the loss and the norm; attention is in 16 bits, and nothing in 64."""
    steps = check_steps(gpu, place, **OPTIONS[name])
    if name == "lora":
        steps.encoder.save(place.folder / "model")  # merged


def test_a_training_goes_on_from_its_checkpoint(gpu: Gpu, place: Place) -> None:
    check_resume(gpu, place)
