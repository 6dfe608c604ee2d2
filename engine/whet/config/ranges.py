"""Which values the options take, checked before anything is loaded or computed.

The mining policy and the measures have rules of their own (whet.mining.policy, whet.evaluation).
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from whet.config.schema import StrategyConfig
from whet.errors import ConfigError, EnvironmentRefused

CHOICES = {
    "data.on_problem": ("refuse", "drop"),
    "model.pooling": ("mean", "cls", "last", None),
    "encode.precision": ("auto", "fp32", "bf16", "fp16"),
    "loss.cache": ("auto", "always", "never"),
    "loss.fused": ("auto", "always", "never"),
    "trainer.precision": ("auto", "32-true", "bf16-mixed"),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "refresh.policy": ("off", "steps", "epoch", "overlap", "continuous"),
    "refresh.scope": ("all", "candidates", "mapped"),
    "strategy.name": ("auto", "single", "ddp", "fsdp", "deepspeed"),
    "strategy.offload": ("none", "cpu", "nvme"),
    "launch.mode": ("local", "ray", "job", "kuberay"),
    "tune.method": ("auto", "words", "matrix", "encoder"),
    "kind": ("document", "query"),
}
RANGES: dict[str, tuple[float, float]] = {  # lowest and highest value, both allowed
    "model.max_length": (1, float("inf")),
    "model.dropout": (0, 0.99),
    "model.lora_rank": (0, float("inf")),
    "encode.batch_tokens": (1, float("inf")),
    "loss.temperature": (1e-4, float("inf")),
    "loss.chunk_tokens": (1, float("inf")),
    "loss.cache_tokens": (0, float("inf")),
    "trainer.max_epochs": (1, float("inf")),
    "trainer.max_steps": (-1, float("inf")),
    "trainer.batch_size": (1, float("inf")),
    "trainer.learning_rate": (0, float("inf")),
    "trainer.warmup_ratio": (0, 1),
    "trainer.weight_decay": (0, float("inf")),
    "trainer.gradient_clip_val": (0, float("inf")),
    "trainer.checkpoint_every_steps": (0, float("inf")),
    "trainer.checkpoint_every_s": (0, float("inf")),
    "trainer.log_every_n_steps": (1, float("inf")),
    "trainer.num_workers": (0, float("inf")),
    "refresh.every_n_steps": (1, float("inf")),
    "refresh.miners": (1, float("inf")),
    "refresh.min_overlap": (0, 1),
    "refresh.max_share": (0.01, 1),
    "refresh.candidates": (1, float("inf")),
    "strategy.stage": (1, 3),
    "launch.num_workers": (1, float("inf")),
    "launch.min_workers": (1, float("inf")),
    "launch.max_failures": (-1, float("inf")),
    "launch.hang_timeout_s": (0, float("inf")),
    "port": (0, 65_535),
    "evaluate.depth": (1, float("inf")),
    "evaluate.examples": (0, float("inf")),
    "seed": (0, float("inf")),
    "seeds": (1, float("inf")),
}


def check_options(config: Any, prefix: str = "") -> None:
    """Check a configuration and its groups; ConfigError names the option and what it takes."""
    for field in fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if is_dataclass(value):
            check_options(value, f"{name}.")
        elif name in CHOICES and value not in CHOICES[name]:
            _refuse_choice(name, value)
        elif name in RANGES and value is not None:
            low, high = RANGES[name]
            if not low <= value <= high:
                upper = "or more" if high == float("inf") else f"to {high:g}"
                raise ConfigError(f"{name}={value} is out of range. It takes {low:g} {upper}.")


def check_strategy(config: StrategyConfig, processes: int) -> None:
    """Refuse what does not go with the number of processes (ConfigError), or a package that is not
    here (EnvironmentRefused), before anything long is done.
    """
    if config.name == "single" and processes > 1:
        raise ConfigError(
            f"strategy=single trains in one process, and launch.num_workers={processes}. "
            "Choose ddp, fsdp or deepspeed_stage_2, or leave it out."
        )
    if config.name != "deepspeed":
        return
    if config.offload == "nvme" and config.nvme_path is None:
        raise ConfigError(
            "strategy.offload=nvme needs strategy.nvme_path, a folder on a fast disk."
        )
    if find_spec("deepspeed") is None:
        raise EnvironmentRefused(
            'strategy=deepspeed needs the package deepspeed. Run `pip install "whet[deepspeed]"`.'
        )


def _refuse_choice(name: str, value: Any) -> None:
    choices = [str(choice) for choice in CHOICES[name] if choice is not None]
    near = get_close_matches(str(value), choices, 1)
    hint = f"Did you mean {near[0]}? It" if near else "It"
    raise ConfigError(f"{name}={value} is unknown. {hint} takes {', '.join(choices)}.")
