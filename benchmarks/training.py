"""The training loop of Whet and nothing around it: the one place here that knows its arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whet.training.run import train


@dataclass
class Alone:
    """Negatives in use where nobody mines: the examples have theirs already."""

    remine: Callable[[int, Any], Any]
    negatives: Any = None
    mined_at: int = 0

    def mine_again(self, step: int, encoder: Any) -> Any:
        """What the caller wants done with the weights of a step."""
        return self.remine(step, encoder)

    def share_still_chosen(self, encoder: Any) -> float:
        """Nobody asks."""
        raise AssertionError("no probe in this training")

    def take(self, step: int) -> Any:
        """Nobody mines beside."""
        raise AssertionError("no miner beside this training")


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

    `remine(step, encoder)` is called where `config.refresh` says so, `step_done` with the seconds
    of each step. A whole fit (`whet.fit`) also judges, mines and writes a report.
    """

    def never(*_: Any) -> Any:
        raise AssertionError("nothing is mined in this training")

    folder.mkdir(parents=True, exist_ok=True)
    return train(
        encoder,
        examples,
        config,
        folder=folder,
        base="",
        in_use=Alone(remine or never),
        miner=never,
        step_done=step_done,
    )
