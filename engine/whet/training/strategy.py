"""Which Lightning strategy divides the model over the processes, and what differs between them:
gradient norms, and how to get the whole weights back.

Processes are made by whoever launches the job (torch's process group is there already), so to
Lightning each is a node with one device.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    ModelParallelStrategy,
)
from torch import Tensor, nn

from whet.config.schema import StrategyConfig
from whet.processes.world import world

SMALL_BUCKET = 5_000_000  # elements DeepSpeed reduces at once on a CPU; its default takes 2 GB


class Joined(ClusterEnvironment):
    """The processes of `whet.processes.world`, as Lightning asks for them."""

    creates_processes_externally = True

    @property
    def main_address(self) -> str:
        """Where the processes met."""
        return os.environ.get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        """The port they met at."""
        return int(os.environ.get("MASTER_PORT", "29500"))

    @staticmethod
    def detect() -> bool:
        """Only ever given explicitly."""
        return False

    def world_size(self) -> int:
        """Processes of the job."""
        return world().size

    def set_world_size(self, size: int) -> None:
        """Fixed by the launcher."""

    def global_rank(self) -> int:
        """This process."""
        return world().rank

    def set_global_rank(self, rank: int) -> None:
        """Fixed by the launcher."""

    def local_rank(self) -> int:
        """The only one of its node, to Lightning."""
        return 0

    def node_rank(self) -> int:
        """The process itself."""
        return world().rank


def strategy_name(config: StrategyConfig) -> str:
    """single, ddp, fsdp or deepspeed."""
    if config.name == "auto":
        return "single" if world().size == 1 else "ddp"
    return config.name


def lightning_strategy(config: StrategyConfig, clip: float) -> Any:
    """The strategy for these processes; `clip` is the norm gradients are cut to, 0 for never.

    `whet.config.ranges.check_strategy` has seen the options.
    """
    name = strategy_name(config)
    if name == "single":
        return "auto"
    backend = "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"
    if name == "ddp":
        return DDPStrategy(
            process_group_backend=backend, broadcast_buffers=False, gradient_as_bucket_view=True
        )
    if name == "fsdp":
        return ModelParallelStrategy(
            save_distributed_checkpoint=False, process_group_backend=backend
        )
    return _deepspeed(config, backend, clip)


def _deepspeed(config: StrategyConfig, backend: str, clip: float) -> Any:
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    # Compiled by g++ for minutes when a CPU job starts, and used by inference alone.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    offload = config.offload != "none"
    options: dict[str, Any] = {}
    if not torch.cuda.is_available():
        options = {"allgather_bucket_size": SMALL_BUCKET, "reduce_bucket_size": SMALL_BUCKET}
    strategy = DeepSpeedAnywhere(
        stage=config.stage,
        offload_optimizer=offload,
        offload_parameters=offload and config.stage == 3,
        offload_optimizer_device=config.offload if offload else "cpu",
        offload_params_device=config.offload if offload else "cpu",
        nvme_path=config.nvme_path or "/local_nvme",
        logging_batch_size_per_gpu=1,
        process_group_backend=backend,
        **options,
    )
    assert strategy.config is not None
    strategy.config["gradient_clipping"] = clip
    strategy.config["zero_force_ds_cpu_optimizer"] = False  # torch's AdamW serves there too
    return strategy


class DeepSpeedAnywhere(DeepSpeedStrategy):
    """Lightning's DeepSpeed strategy, on CPUs too: it refuses them in three places."""

    @property
    def root_device(self) -> torch.device:
        """With an index, which DeepSpeed compares with numbers."""
        device = super().root_device
        return torch.device("cpu", 0) if device.type == "cpu" else device

    def setup_environment(self) -> None:
        """Without the check that the accelerator is CUDA."""
        if self.root_device.type == "cpu":
            DDPStrategy.setup_environment(self)
        else:
            super().setup_environment()

    def setup_distributed(self) -> None:
        """Without the check of CUDA device numbers."""
        if self.root_device.type != "cpu":
            super().setup_distributed()
            return
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def _setup_model_and_optimizer(self, model: nn.Module, *others: Any, **options: Any) -> Any:
        """At stage 3, look for a weight's next use no further than two passes through the model.

        DeepSpeed looks 1e9 numbers ahead at each module, which with a small model is the rest of
        the step: with the many passes of GradCache most of its time went there.
        """
        assert self.config is not None
        zero = self.config["zero_optimization"]
        if zero["stage"] == 3:
            # a partitioned weight holds no numbers of its own here, and knows how many it has
            sizes = (getattr(p, "ds_numel", p.numel()) for p in model.parameters())
            zero["stage3_max_reuse_distance"] = min(10**9, 2 * sum(sizes))
        return super()._setup_model_and_optimizer(model, *others, **options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> Any:
        """Also a universal checkpoint of stage 3, after which DeepSpeed 0.19 leaves all parameters
        with one step counter, counted up once for each, and with the first group's weight decay.
        """
        optimizer = self.deepspeed_engine.optimizer.optimizer
        decays = [group["weight_decay"] for group in optimizer.param_groups]
        loaded = super().load_checkpoint(checkpoint_path, weights_only)
        for state in optimizer.state.values():
            if torch.is_tensor(state.get("step")):
                state["step"] = state["step"].clone()
        for group, decay in zip(optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        return loaded


def shard_for_fsdp(encoder: Any, mesh: Any) -> None:
    """Shard an encoder in place: each transformer layer by itself, the rest as one (FSDP2)."""
    from torch.distributed.fsdp import fully_shard

    stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    layers: Any = max(
        stacks, key=lambda stack: sum(p.numel() for p in stack.parameters()), default=[]
    )
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(encoder, mesh=mesh)


def gradient_norm(trainer: Any, module: nn.Module, limit: float) -> Tensor:
    """The norm of all gradients, which are cut to `limit`; DeepSpeed does both in its step."""
    if isinstance(trainer.strategy, DeepSpeedStrategy):
        return torch.zeros(())
    parameters = [p for p in module.parameters() if p.requires_grad]
    norm: Any = torch.nn.utils.clip_grad_norm_(parameters, limit)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def norm_of_step(trainer: Any, norm: Tensor) -> Tensor:
    """The norm, where it is only known after the step."""
    if not isinstance(trainer.strategy, DeepSpeedStrategy):
        return norm
    return torch.as_tensor(float(trainer.strategy.deepspeed_engine.get_global_grad_norm() or 0.0))


def whole_weights(strategy: Any, encoder: nn.Module) -> dict[str, Tensor] | None:
    """Copies of the encoder's weights on this process, float32; None if it holds them whole itself.

    Every process must call it.
    """
    if isinstance(strategy, DeepSpeedStrategy):
        return _whole(encoder, _of_deepspeed())
    if isinstance(strategy, ModelParallelStrategy):
        return _whole(encoder, _of_fsdp)
    return None


def _of_fsdp(parameter: Any) -> Tensor:
    return parameter.full_tensor()


def _of_deepspeed() -> Callable[[Tensor], Tensor]:
    import deepspeed

    def gather(parameter: Tensor) -> Tensor:
        if parameter.requires_grad:
            return deepspeed.utils.safe_get_full_fp32_param(parameter)
        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().float().clone()

    return gather


def _whole(encoder: nn.Module, gather: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    state = {name: buffer.detach().cpu().clone() for name, buffer in encoder.named_buffers()}
    for name, parameter in encoder.named_parameters():
        state[name] = gather(parameter).detach().float().cpu().clone()
    known = encoder.state_dict().keys()
    return {name: tensor for name, tensor in state.items() if name in known}
