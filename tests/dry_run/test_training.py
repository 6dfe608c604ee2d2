"""Parts of a training step on a GPU that is not there: what is right on a CPU is right there."""

from __future__ import annotations

from pathlib import Path

import pytest
from device_checks import (
    check_backward_of_the_loss,
    check_cached_dropout,
    check_learning,
    check_tuned_matrix,
)
from pretend_cuda import Gpu


def test_a_cached_step_draws_the_same_dropout_again(gpu: Gpu, tiny_model: Path) -> None:
    check_cached_dropout(tiny_model)


def test_the_backward_of_the_loss_is_not_cast(gpu: Gpu) -> None:
    check_backward_of_the_loss()


def test_a_tuned_matrix_multiplies_in_float32(gpu: Gpu, tiny_model: Path) -> None:
    check_tuned_matrix(tiny_model)


@pytest.mark.usefixtures("few_steps")
def test_an_encoder_learns_from_judgments(gpu: Gpu, tiny_model: Path) -> None:
    check_learning(tiny_model)
