"""The options of the loss: which one, and what a teacher has to do with it.

Groups like those of groups.py: typed, with default and meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from whet.config.option import recorded_option

START = "start"  # as loss.guide: the base model, as it was before training
# Models that a fit asks besides its own: by group and option.
BESIDE = (("mining", "cross_encoder"), ("distill", "teacher"), ("loss", "guide"))


@dataclass
class LossConfig:
    """InfoNCE over in-batch and hard negatives, or what a teacher says (docs/losses.md)."""

    name: str = recorded_option(
        "infonce",
        "infonce; by a teacher's scores: margin_mse, distill_kl",
        choices=("infonce", "margin_mse", "distill_kl"),
    )
    temperature: float = recorded_option(
        0.05, "divides similarities before the softmax", least=1e-4
    )
    symmetric: bool = recorded_option(False, "also each positive against all queries")
    gains: str = recorded_option(
        "off",
        "a pair counts by its grade: linear (the grade), exponential (2^grade - 1), off",
        choices=("off", "linear", "exponential"),
    )
    guide: Optional[str] = recorded_option(
        None,
        "encoder whose similarities say which negatives are likely positives; start: the base "
        "model, as it was before training",
        path=True,
    )
    guide_margin: float = recorded_option(
        0.0, "a negative is left out from this far below the pair's own document on", least=0
    )
    matryoshka_dims: list[int] = recorded_option([], "train prefixes of the vector too")
    chunk_tokens: Optional[int] = recorded_option(
        None, "tokens per forward pass; null: by hardware", least=1
    )
    cache: str = recorded_option(
        "auto",
        "GradCache: auto (when a batch is over cache_tokens), always, never",
        choices=("auto", "always", "never"),
    )
    cache_tokens: Optional[int] = recorded_option(
        None, "tokens whose activations fit at once; null: by hardware", least=0
    )
    fused: str = recorded_option(
        "auto",
        "never a pairs x documents matrix: auto (over 16 million), always, never",
        choices=("auto", "always", "never"),
    )


@dataclass
class DistillConfig:
    """Whose scores loss=margin_mse and distill_kl learn from (docs/losses.md)."""

    teacher: Optional[str] = recorded_option(
        None,
        "a cross-encoder or a larger encoder, folder or name; null: the scores in the data",
        path=True,
    )
    temperature: Optional[float] = recorded_option(
        None,
        "divides the teacher's scores; null: 1, and loss.temperature for an encoder's",
        least=1e-4,
    )
    weight: float = recorded_option(
        1.0, "share of the distillation in the loss; the rest is InfoNCE", least=0, most=1
    )
