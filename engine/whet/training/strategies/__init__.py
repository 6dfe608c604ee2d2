"""How the processes of a job share the model: one class per strategy, which says all that differs.

Processes are made by whoever launches the job (torch's process group is there already), so to
Lightning each is a node with one device.
"""

from __future__ import annotations

from whet.config import StrategyConfig
from whet.processes.world import world
from whet.training.strategies.single import Strategy as Strategy


def strategy_of(config: StrategyConfig, clip: float) -> Strategy:
    """The strategy of these processes; `clip` is the norm gradients are cut to, 0 for never.

    `whet.config.ranges.check_strategy` has seen the options.
    """
    name = config.name
    if name == "auto":
        name = "single" if world().size == 1 else "ddp"
    if name == "ddp":
        from whet.training.strategies.ddp import Ddp

        return Ddp(config, clip)
    if name == "fsdp":
        from whet.training.strategies.fsdp import Fsdp

        return Fsdp(config, clip)
    if name == "deepspeed":
        from whet.training.strategies.deepspeed import DeepSpeed

        return DeepSpeed(config, clip)
    return Strategy(config, clip)
