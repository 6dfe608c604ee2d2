"""DeepSpeed's ZeRO: optimizer state, gradients and weights divided by stage, and kept on the CPU or
a disk where asked for. It runs on CPUs too.
"""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy
from torch import Tensor, nn

from whet.errors import EnvironmentRefused
from whet.processes.world import from_leader, world
from whet.progress import say
from whet.training.strategies.single import Strategy, gathered_state, process_group_backend

SMALL_BUCKET = 5_000_000  # elements DeepSpeed reduces at once on a CPU; its default takes 2 GB


class DeepSpeed(Strategy):
    """DeepSpeed cuts gradients, steps and writes checkpoints itself."""

    one_file = False  # a folder of parts, which DeepSpeed checks itself

    def make(self) -> Any:
        """Lightning's, made to run on CPUs too."""
        if not torch.cuda.is_available():
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed

        # Compiled by g++ for minutes when a CPU job starts, and used by inference alone.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        offload = self.config.offload != "none"
        options: dict[str, Any] = {}
        if not torch.cuda.is_available():
            options = {"allgather_bucket_size": SMALL_BUCKET, "reduce_bucket_size": SMALL_BUCKET}
        strategy = DeepSpeedAnywhere(
            stage=self.config.stage,
            offload_optimizer=offload,
            offload_parameters=offload and self.config.stage == 3,
            offload_optimizer_device=self.config.offload if offload else "cpu",
            offload_params_device=self.config.offload if offload else "cpu",
            nvme_path=self.config.nvme_path or "/local_nvme",
            logging_batch_size_per_gpu=1,
            process_group_backend=process_group_backend(),
            **options,
        )
        assert strategy.config is not None
        strategy.config["gradient_clipping"] = self.clip
        strategy.config["zero_force_ds_cpu_optimizer"] = False  # torch's AdamW serves there too
        return strategy

    def gradient_norm(self, module: nn.Module, limit: float) -> Tensor:
        """Not known yet: DeepSpeed computes it in its step, where it also cuts."""
        return torch.zeros((), device=self.lightning.root_device)

    def norm_of_step(self, norm: Tensor) -> Tensor:
        """What DeepSpeed found in its step."""
        return torch.as_tensor(float(self.lightning.deepspeed_engine.get_global_grad_norm() or 0.0))

    def whole_weights(self, encoder: nn.Module) -> dict[str, Tensor] | None:
        """The full float32 weights, gathered from all parts."""
        return gathered_state(encoder, _gather())

    def state_to_load(self, state: Path, processes: int) -> Path:
        """The state, divided anew where another number of processes wrote it: DeepSpeed's parts
        belong to that number, and its universal checkpoint (Lian et al., arXiv 2406.18820) is made
        from them once.
        """
        if processes == world().size:
            return state
        folder = state.parent
        target = folder.with_name(f"{folder.name}.universal.tmp")
        stage = self.lightning.config["zero_optimization"]["stage"]
        from_leader(lambda: _to_universal(state, target, stage))
        self.lightning.config["checkpoint"] = {"load_universal": True}
        say(f"Dividing the checkpoint of {processes} processes over {world().size}.")
        return target


def check_disk_offload() -> None:
    """Refuse to keep parts on a disk (EnvironmentRefused) where DeepSpeed has not got its compiled
    operation for that, and lacks what it needs to compile it.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from deepspeed.git_version_info import installed_ops
    from deepspeed.ops.op_builder import AsyncIOBuilder
    from torch.utils.cpp_extension import is_ninja_available

    if installed_ops.get(AsyncIOBuilder.NAME):
        return
    lacks = [] if AsyncIOBuilder().is_compatible() else ["libaio-dev and a C++ compiler"]
    lacks += [] if is_ninja_available() else ["ninja"]
    if lacks:
        raise EnvironmentRefused(
            f"strategy.offload=nvme needs {' and '.join(lacks)}: DeepSpeed compiles async_io with "
            "them. Install them, or choose strategy=deepspeed_stage_3_offload, which keeps the "
            "same in the CPUs' memory."
        )


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
        the step: with the many passes of GradCache most of its time went there. For bf16 it rounds
        the weights, and only then takes the float32 ones that its optimizer adds steps to.
        """
        assert self.config is not None
        exact = _exact_weights(model) if self.precision_plugin.precision == "bf16-mixed" else {}
        zero = self.config["zero_optimization"]
        if zero["stage"] == 3:
            # a partitioned weight holds no numbers of its own here, and knows how many it has
            sizes = (getattr(p, "ds_numel", p.numel()) for p in model.parameters())
            zero["stage3_max_reuse_distance"] = min(10**9, 2 * sum(sizes))
        made = super()._setup_model_and_optimizer(model, *others, **options)
        _take_back(model, exact)
        return made

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


def _exact_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights on the host, float32, of those that are whole in this process. No copies where
    they lie there: DeepSpeed gives the parameters other memory, and leaves this as it is.
    """
    return {
        name: part.detach().to("cpu", torch.float32)
        for name, part in model.named_parameters()
        if part.numel()
    }


def _take_back(model: nn.Module, exact: dict[str, Tensor]) -> None:
    """Give the optimizer the float32 weights as they were before they were rounded. Weights that
    are not trained keep theirs beside the rounded ones, for the model that is saved.
    """
    import deepspeed

    for name, part in model.named_parameters():
        if name in exact and part.requires_grad:
            deepspeed.utils.safe_set_full_fp32_param(part, exact[name].to(part.device))
        elif name in exact:
            part.exact = exact[name]  # type: ignore[attr-defined]


def _gather() -> Callable[[Tensor], Tensor]:
    import deepspeed

    def gather(parameter: Tensor) -> Tensor:
        if parameter.requires_grad:
            whole: Tensor = deepspeed.utils.safe_get_full_fp32_param(parameter)
            return whole
        if hasattr(parameter, "exact"):
            exact: Tensor = parameter.exact
            return exact
        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().float().clone()

    return gather


def _to_universal(state: Path, target: Path, stage: int) -> None:
    from deepspeed.checkpoint.ds_to_universal import main

    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "checkpoint").symlink_to((state / "checkpoint").resolve())
    main(
        Namespace(
            input_folder=str(state / "checkpoint"),
            output_folder=str(target / "checkpoint_universal"),
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=stage <= 2,
        )
    )
    (target / "latest_universal").write_text("checkpoint_universal")
