"""Where this process encodes and trains, and how precisely: decided here for everyone who asks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from whet.config import EncodeConfig, TrainerConfig
from whet.errors import ConfigError, EnvironmentRefused
from whet.processes.world import world

# A batch of 192 texts takes a thread 20 to 30 ms; a step on a GPU 3 ms (MiniLM) to 16 (BERT-base).
GPU_BATCH_MAKERS = 2
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(config: EncodeConfig) -> torch.device:
    """Where texts are encoded: the device asked for, else a GPU where there is one, else the CPU.

    EnvironmentRefused where the one asked for is a GPU that is not here, ConfigError for the name
    of no device.

    >>> choose_device(EncodeConfig(device="cpu"))
    device(type='cpu')
    """
    if config.device is None:
        return _this_gpu() if torch.cuda.is_available() else torch.device("cpu")
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise EnvironmentRefused(
            f"encode.device={config.device}: torch finds no GPU here. Leave the option out, or "
            "install a CUDA build of torch."
        )
    try:
        device = torch.device(config.device)
    except RuntimeError as error:
        raise ConfigError(
            f"encode.device={config.device} is no device. It takes cpu, cuda, or cuda:1 for the "
            "second GPU."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentRefused(
            f"encode.device={config.device}: the last GPU here is "
            f"cuda:{torch.cuda.device_count() - 1}. Choose one from cuda:0 on."
        )
    return device


def choose_precision(config: EncodeConfig, device: torch.device) -> str:
    """How texts are encoded, fp32, bf16 or fp16: as asked, else the best that the device has in
    hardware.

    >>> choose_precision(EncodeConfig(), torch.device("cpu"))
    'fp32'
    """
    if config.precision in PRECISIONS:
        return config.precision
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def casting(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """A block whose products are in bf16 or fp16 where `precision` says so, by torch's autocast.

    >>> with casting(torch.device("cpu"), "bf16"):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[precision])


def training_device(config: TrainerConfig) -> torch.device:
    """Where the steps are done: a GPU where there is one, unless trainer.accelerator=cpu.

    EnvironmentRefused for trainer.accelerator=gpu where there is none.

    >>> training_device(TrainerConfig(accelerator="cpu"))
    device(type='cpu')
    """
    if config.accelerator == "gpu" and not torch.cuda.is_available():
        raise EnvironmentRefused(
            "trainer.accelerator=gpu: torch finds no GPU here. Use auto or cpu, or install a CUDA "
            "build of torch."
        )
    trains_on_gpu = config.accelerator != "cpu" and torch.cuda.is_available()
    return _this_gpu() if trains_on_gpu else torch.device("cpu")


def training_precision(config: TrainerConfig) -> str:
    """How the steps are done, in Lightning's words: as asked, else bf16-mixed on GPUs that have it.

    >>> training_precision(TrainerConfig(accelerator="cpu"))
    '32-true'
    """
    if config.precision != "auto":
        return config.precision
    on_gpu = training_device(config).type == "cuda"
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"


def batch_makers(config: TrainerConfig) -> int:
    """Threads that make the next steps' batches: as asked, else some where a GPU would wait for
    them. A CPU's cores have the step.

    >>> batch_makers(TrainerConfig(accelerator="cpu")), batch_makers(TrainerConfig(num_workers=3))
    (0, 3)
    """
    if config.num_workers is not None:
        return config.num_workers
    return GPU_BATCH_MAKERS if training_device(config).type == "cuda" else 0


def loss_products(config: TrainerConfig) -> torch.dtype:
    """The type in which the loss by tiles multiplies vectors: on a GPU that of the other products
    of a step. The vectors of a bf16 step are no better than bf16, and float32 products would cost
    more than all else of a large batch. A CPU gains nothing by it.

    >>> loss_products(TrainerConfig(accelerator="cpu"))
    torch.float32
    """
    on_gpu = training_device(config).type == "cuda"
    narrow = on_gpu and training_precision(config).startswith("bf16")
    return torch.bfloat16 if narrow else torch.float32


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device. On its way to a GPU nobody waits for it: from memory that
    is not pinned the host would, at every copy, for all that the GPU has to do before.

    >>> sent(torch.arange(3), torch.device("cpu")).tolist()
    [0, 1, 2]
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _this_gpu() -> torch.device:
    return torch.device("cuda", world().device_index)
