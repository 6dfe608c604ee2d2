"""One process with the whole model; and what the other strategies may say otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whet.config import StrategyConfig

KEPT_WHOLE = 1 << 30  # bytes of gathered layers; fsdp gathers more again for the backward


class Strategy:
    """What training asks of a strategy. Here are the answers of a single process."""

    one_file = True  # a checkpoint's state is one file of torch's

    def __init__(self, config: StrategyConfig, clip: float) -> None:
        self.config = config
        self.clip = clip
        self.lightning: Any = self.make()

    def make(self) -> Any:
        """What Lightning's Trainer takes as its strategy."""
        return "auto"

    def shard(self, encoder: nn.Module, mesh: Any) -> None:
        """Divide the encoder's weights over the processes, in place, where that is ours to do."""

    def gradient_norm(self, module: nn.Module, limit: float) -> Tensor:
        """The norm of all gradients, which are cut to `limit`."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        return torch.nn.utils.clip_grad_norm_(parameters, limit)

    def norm_of_step(self, norm: Tensor) -> Tensor:
        """The norm, where it is only known after the step; else `norm`, as it was before."""
        return norm

    def whole_weights(self, encoder: nn.Module) -> dict[str, Tensor] | None:
        """Copies of the encoder's weights on this process, float32; None if it holds them whole
        itself. Every process must call it.
        """
        return None

    def state_to_load(self, state: Path, processes: int) -> Path:
        """What the trainer loads of a checkpoint's state that so many processes wrote."""
        return state


def process_group_backend() -> str:
    """Of torch's process group: NCCL between GPUs, Gloo between CPUs."""
    return "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"


def gathered_state(encoder: nn.Module, gather: Callable[[Any], Tensor]) -> dict[str, Tensor]:
    """An encoder's state on the CPU, float32, each parameter made whole by `gather`."""
    state = {name: buffer.detach().cpu().clone() for name, buffer in encoder.named_buffers()}
    for name, parameter in encoder.named_parameters():
        state[name] = gather(parameter).detach().float().cpu().clone()
    known = encoder.state_dict().keys()
    return {name: tensor for name, tensor in state.items() if name in known}
