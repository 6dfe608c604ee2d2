"""The training loop of Whet and nothing around it: the one place here that knows its arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from whet.training.run import Refreshes, train


def train_alone(
    encoder: Any,
    examples: Any,
    config: Any,
    folder: Path,
    *,
    remine: Callable[[int, Any], Any] | None = None,
    step_done: Callable[[float], None] = lambda seconds: None,
) -> Any:
    """Train an encoder on examples by a FitConfig; returns what it became.

    `remine(step, encoder)` is asked for negatives where `config.refresh` says so, `step_done` is
    told the seconds of each step. A whole fit (`whet.fit`) also judges, mines and writes a report.
    """

    def never(*_: Any) -> Any:
        raise AssertionError("nothing is mined in this training")

    refreshes = Refreshes(remine or never, never, never, never)
    return train(
        encoder,
        examples,
        config,
        folder=folder,
        base="",
        refreshes=refreshes,
        step_done=step_done,
    )
