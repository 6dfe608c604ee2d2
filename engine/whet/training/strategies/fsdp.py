"""Weights, gradients and optimizer state divided over the processes (torch's FSDP2)."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn

from whet.training.strategies.single import Strategy, gathered_state, process_group_backend


class Fsdp(Strategy):
    """FSDP2: parameters are DTensors, of which each process holds a part."""

    def make(self) -> Any:
        """Lightning's, which leaves the sharding to the module."""
        return ModelParallelStrategy(
            save_distributed_checkpoint=False, process_group_backend=process_group_backend()
        )

    def shard(self, encoder: nn.Module, mesh: Any) -> None:
        """Each transformer layer by itself, the rest as one."""
        from torch.distributed.fsdp import fully_shard

        stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
        layers: Any = max(
            stacks, key=lambda stack: sum(p.numel() for p in stack.parameters()), default=[]
        )
        for layer in layers:
            fully_shard(layer, mesh=mesh["data_parallel"])
        fully_shard(encoder, mesh=mesh["data_parallel"])

    def gradient_norm(self, module: nn.Module, limit: float) -> Tensor:
        """The norm over all processes, as a plain tensor."""
        norm: Any = super().gradient_norm(module, limit)
        plain: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return plain

    def whole_weights(self, encoder: nn.Module) -> dict[str, Tensor] | None:
        """Gathered from all parts."""
        return gathered_state(encoder, lambda parameter: parameter.full_tensor())
