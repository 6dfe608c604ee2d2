"""Every process holds the whole model and gradients are averaged (torch's DDP)."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import DDPStrategy

from whet.training.strategies.single import Strategy, process_group_backend


class Ddp(Strategy):
    """DDP: to its processes the model is as to a single one."""

    def make(self) -> Any:
        """Lightning's own."""
        return DDPStrategy(
            process_group_backend=process_group_backend(),
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )
