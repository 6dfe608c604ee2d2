"""The options of what a fit returns, as those of groups.py are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from whet.config.option import recorded_option


@dataclass
class SelectConfig:
    """Which weights a fit returns (docs/fitting.md)."""

    policy: str = recorded_option(
        "dev",
        "dev: those that a held-out part of train shows to be better, else the base model's; "
        "last: those of the last step, on all of train",
        choices=("dev", "last"),
        before="last",
    )
    share: float = recorded_option(
        0.1, "of the train queries held out as dev part", least=0.01, most=0.25
    )
    at_least: int = recorded_option(
        100, "queries in the dev part, though never more than a fifth of all", least=1
    )
    at_most: int = recorded_option(500, "queries in the dev part", least=1)
    moments: int = recorded_option(
        4, "times the model is judged on dev while it trains, evenly spread to the end", least=1
    )
    patience: int = recorded_option(
        2, "moments without a rise on dev after which training stops", least=1
    )
    words: str = recorded_option(
        "auto",
        "words in common (BM25) beside the vectors: they count in searches with what comes back "
        "where dev shows that to be better, and both are judged. auto: where it takes seconds",
        choices=("auto", "always", "off"),
        before="off",
    )


@dataclass
class GuardConfig:
    """How much of what it could do before a returned model may lose (docs/fitting.md)."""

    max_drop: float = recorded_option(
        0.01, "of the guard set's nDCG@10; 1: it may lose all, nothing is guarded", least=0, most=1
    )
    data: Optional[str] = recorded_option(
        None, "queries of other data; null: the small set that comes with Whet", path=True
    )
