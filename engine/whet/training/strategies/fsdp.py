"""Weights, gradients and optimizer state divided over the processes (torch's FSDP2)."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn

from whet.model.activations import layers_of
from whet.training.strategies.single import (
    KEPT_WHOLE,
    Strategy,
    gathered_state,
    process_group_backend,
)


class Fsdp(Strategy):
    """FSDP2: parameters are DTensors, of which each process holds a part."""

    def make(self) -> Any:
        """Lightning's, which leaves the sharding to the module."""
        return ModelParallelStrategy(
            save_distributed_checkpoint=False, process_group_backend=process_group_backend()
        )

    def shard(self, encoder: nn.Module, mesh: Any) -> None:
        """Each transformer layer by itself, the rest as one.

        Where a GPU trains in bf16 the layers' weights are gathered in bf16, as their products take
        them, and their gradients added up in float32; what makes one vector of token vectors stays
        float32. Layers of a small model stay whole from the forward to the backward.
        """
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        narrow = self.lightning.root_device.type == "cuda" and (
            self.lightning.precision_plugin.precision == "bf16-mixed"
        )
        policy = MixedPrecisionPolicy()
        if narrow:
            # Inputs keep their type: autocast says which operations are in bf16. Those that are
            # not, norms say, take weights that were rounded on the way.
            policy = MixedPrecisionPolicy(
                param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
            )
        layers = layers_of(encoder)
        weights = sum(p.numel() for layer in layers for p in layer.parameters())
        large = weights * (2 if narrow else 4) > KEPT_WHOLE
        for layer in layers:
            fully_shard(
                layer,
                mesh=mesh["data_parallel"],
                mp_policy=policy,
                reshard_after_forward=large,
            )
        fully_shard(encoder, mesh=mesh["data_parallel"])

    def gradient_norm(self, module: nn.Module, limit: float) -> Tensor:
        """The norm over all processes, as a plain tensor."""
        norm: Any = super().gradient_norm(module, limit)
        plain: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return plain

    def whole_weights(self, encoder: nn.Module) -> dict[str, Tensor] | None:
        """Gathered from all parts."""
        return gathered_state(encoder, lambda parameter: parameter.full_tensor())
