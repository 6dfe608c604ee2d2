"""Values the options do not take are refused before anything is loaded or computed.

What an option takes stands at its field. The mining policy, whose rules hold only where something
is mined, and the measures are checked elsewhere (whet.mining.policy, whet.evaluation).
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from whet.config.groups import LoggerConfig, MiningConfig, StrategyConfig
from whet.config.losses import DistillConfig, LossConfig
from whet.config.option import RULES, Rules
from whet.errors import ConfigError, EnvironmentRefused
from whet.printable import printable
from whet.version import install_line

TIME = re.compile(r"(?:(\d{1,4}(?:\.\d+)?)h)?(?:(\d{1,6}(?:\.\d+)?)m)?(?:(\d{1,8}(?:\.\d+)?)s)?")
HALF_AN_HOUR = 1800.0


def check_options(config: Any, prefix: str = "") -> None:
    """Check a configuration and its groups; ConfigError names the option and what it takes."""
    for field in fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if isinstance(value, MiningConfig):
            continue
        if is_dataclass(value):
            check_options(value, f"{name}.")
        elif value is not None or field.default is not None:
            _check(name, value, field.metadata[RULES])


def _check(name: str, value: Any, rules: Rules) -> None:
    if rules.choices and value not in rules.choices:
        near = get_close_matches(str(value), rules.choices, 1)
        hint = f"Did you mean {near[0]}? It" if near else "It"
        raise ConfigError(f"{name}={value} is unknown. {hint} takes {', '.join(rules.choices)}.")
    low, high = rules.least, rules.most
    if low is not None and value is not None and not low <= value <= high:
        upper = "or more" if high == float("inf") else f"to {high:g}"
        raise ConfigError(f"{name}={value} is out of range. It takes {low:g} {upper}.")


def budget_seconds(budget: str) -> float:
    """A time such as 90s, 45m or 1h30m in seconds; auto: half an hour. ConfigError for anything
    else.

    >>> budget_seconds("1h30m"), budget_seconds("auto")
    (5400.0, 1800.0)
    """
    if budget == "auto":
        return HALF_AN_HOUR
    found = TIME.fullmatch(budget)
    parts = found.groups() if found else (None, None, None)
    seconds = sum(float(n or 0) * size for n, size in zip(parts, (3600, 60, 1), strict=True))
    if not seconds:
        raise ConfigError(
            f"budget={printable(budget)} is no time. Write one such as 90s, 45m or 1h30m, or auto."
        )
    return float(seconds)


def words_weight(words: str, others: tuple[str, ...] = ("auto",)) -> float | None:
    """The weight that `words=` names, None for one of the other values it takes. ConfigError for
    anything else.

    >>> words_weight("0.3"), words_weight("auto")
    (0.3, None)
    """
    if words in others:
        return None
    try:
        weight = float(words)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise ConfigError(
            f"words={printable(words)} is no weight. Give a number such as 0.3, 0 for vectors "
            f"alone, or {' or '.join(others)}."
        )
    return weight


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
            f"strategy=deepspeed needs the package deepspeed. Run `{install_line('deepspeed')}`."
        )


def check_logger(config: LoggerConfig) -> None:
    """Refuse a logger whose package is not here (EnvironmentRefused), or an address that nothing
    would be sent to (ConfigError), before anything long is done.
    """
    if config.address is not None and config.name != "mlflow":
        raise ConfigError(
            f"logger.address is of MLflow's server, and logger={config.name} sends nothing there. "
            "Leave it out, or write logger=mlflow."
        )
    if config.name not in ("wandb", "mlflow"):
        return
    package = find_spec(config.name)
    # a folder of that name, such as the one W&B makes where it is run, is no package
    if package is None or package.origin is None:
        raise EnvironmentRefused(
            f"logger={config.name} needs the package {config.name}. "
            f"Run `{install_line(config.name)}`."
        )


def uses_info_nce(loss: LossConfig, distill: DistillConfig) -> bool:
    """Whether InfoNCE has a share in the loss.

    >>> uses_info_nce(LossConfig(), DistillConfig())
    True
    >>> uses_info_nce(LossConfig(name="margin_mse"), DistillConfig())
    False
    """
    return loss.name == "infonce" or distill.weight < 1


def check_loss(loss: LossConfig, distill: DistillConfig) -> None:
    """Refuse options of the loss that would decide nothing or contradict each other
    (ConfigError).
    """
    if loss.guide_margin and loss.guide is None:
        raise ConfigError("loss.guide_margin is a guide's, and there is none. Add loss.guide=start")
    if loss.name == "infonce" and distill != DistillConfig():
        raise ConfigError(
            "The options of distill teach nothing with loss=infonce. Add loss=margin_mse or "
            "loss=distill_kl, or leave them out."
        )
    if uses_info_nce(loss, distill):
        return
    for option, given in (
        ("loss.symmetric=true", loss.symmetric),
        ("loss.fused=always", loss.fused == "always"),
        (f"loss.gains={loss.gains}", loss.gains != "off"),
        (f"loss.guide={loss.guide}", loss.guide is not None),
    ):
        if given:
            raise ConfigError(
                f"{option} is of InfoNCE, which has no share in loss={loss.name}. Leave it out, "
                "or give InfoNCE a share: distill.weight=0.5"
            )
