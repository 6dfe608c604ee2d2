"""What a forward pass holds until its backward: how many tokens of it fit in a device's memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from whet.config import TrainerConfig
from whet.errors import ConfigError
from whet.model.parts.pictures.picture_reader import PictureReader
from whet.printable import printable
from whet.processes.devices import training_device, training_precision
from whet.processes.host import host_bytes
from whet.progress import say

if TYPE_CHECKING:
    from whet.model.encoder import Encoder

MEMORY_SHARE = 0.3  # of the device, for the activations of one backward; a GPU gives at least that
# Of a GPU, for activations, weights, gradients and optimizer together: the loss, a bucket of
# gradients, the libraries and what fragments take the rest.
GPU_SHARE = 0.85
STATE_BYTES, CAST_BYTES = 12, 2  # a trained weight beside itself; its copy that autocast keeps
# Activations per token, layer and hidden unit of a BERT, by the precision of the step. Float32:
# Korthikanti et al., arXiv 2205.05198. In bf16 most of it halves; sums before a norm stay float32,
# and each of three products casts the layer's input for itself.
FLOAT32 = "32-true"
BYTES_A_UNIT = {FLOAT32: 68, "bf16-mixed": 42}
# Where attention keeps its matrices (eager), more per token, head and token of its text.
BYTES_A_PAIR = {"32-true": 9, "bf16-mixed": 7}
# Of a layer that is computed again its input is held, in float32 also where products are in bf16.
BYTES_A_UNIT_RECOMPUTED = 4
BERT_LAYER = 12  # weights of its matrices over the square of the hidden size
# A CPU's caches hold no more: a step took 1.1 times as long at 2,048, 2.6 times at 16,384. A GPU
# needs work for longer than the host takes to tell it what: 65,536 where memory is large.
CPU_CHUNK, GPU_CHUNK, LARGE_GPU_CHUNK = 512, 16_384, 65_536  # tokens
LARGE_GPU = 75 << 30  # bytes; cards of 80 GB have 79 GiB


def tokens_that_fit(encoder: Encoder, device: torch.device, precision: str) -> int:
    """How many tokens' activations fit in the device's memory (its size, not what is free now)
    beside what training holds.
    """
    unit = token_bytes(encoder, device, precision)
    if device.type != "cuda":
        return int(host_bytes() * MEMORY_SHARE / unit)
    total = torch.cuda.get_device_properties(device).total_memory
    held = sum(_bytes_in_training(part) for part in encoder.parameters())
    return int(max(GPU_SHARE * total - held, MEMORY_SHARE * total) / unit)


def _bytes_in_training(part: torch.nn.Parameter) -> int:
    each = part.element_size() + CAST_BYTES + STATE_BYTES * part.requires_grad
    return math.prod(_whole_shape(part)) * each


def _whole_shape(part: torch.nn.Parameter) -> tuple[int, ...]:
    """Also of one that DeepSpeed has divided, which holds no numbers of its own."""
    return tuple(getattr(part, "ds_shape", part.shape))


def chunk_tokens(encoder: Encoder, device: torch.device, precision: str) -> int:
    """How many tokens go through the model at once, with padding, where nobody says."""
    if device.type != "cuda":
        return CPU_CHUNK
    large = torch.cuda.get_device_properties(device).total_memory >= LARGE_GPU
    most = LARGE_GPU_CHUNK if large else GPU_CHUNK
    return max(1, min(most, tokens_that_fit(encoder, device, precision)))


def token_bytes(encoder: Encoder, device: torch.device, precision: str) -> int:
    """Bytes of a token's activations that its backward needs. On a CPU as in float32, whatever the
    precision: what fits there decides what earlier runs computed.
    """
    reader = encoder.reader
    if isinstance(reader, PictureReader):  # a convolution's depend on the place; one was looked at
        smaller = BYTES_A_UNIT[precision if device.type == "cuda" else FLOAT32]
        return int(reader.held / encoder.recipe.max_length * smaller / BYTES_A_UNIT[FLOAT32]) + 1
    settings: Any = encoder.backbone.config
    layers, hidden = settings.num_hidden_layers, settings.hidden_size
    layer = _layer_bytes(encoder, device, precision)
    if is_recomputed(encoder):
        return int(layers * hidden * BYTES_A_UNIT_RECOMPUTED + layer)
    return int(layers * layer)


def _layer_bytes(encoder: Encoder, device: torch.device, precision: str) -> float:
    """The same of one layer."""
    settings: Any = encoder.backbone.config
    layers, hidden = settings.num_hidden_layers, settings.hidden_size
    if device.type != "cuda":
        return float(hidden * BYTES_A_UNIT[FLOAT32])
    shapes = [_whole_shape(part) for part in layers_of(encoder).parameters()]
    matrices = sum(math.prod(shape) for shape in shapes if len(shape) > 1)
    # Activations grow with the matrices between which they lie: gated and wider layers have more.
    wider = max(1.0, matrices / max(1, layers * BERT_LAYER * hidden**2))
    pairs = 0
    if getattr(settings, "_attn_implementation", None) == "eager":
        pairs = BYTES_A_PAIR[precision] * settings.num_attention_heads * encoder.recipe.max_length
    return float(hidden * BYTES_A_UNIT[precision] * wider + pairs)


def is_recomputed(encoder: Encoder) -> bool:
    """Whether the layers keep their inputs alone for the backward (`recompute`)."""
    return any(getattr(part, "gradient_checkpointing", False) for part in encoder.modules())


def recompute(encoder: Encoder, config: TrainerConfig) -> None:
    """Have each layer keep its input alone and compute itself again in the backward, with the same
    dropout, where the options say so (Chen et al., arXiv 1604.06174). Gradients stay the same.

    ConfigError where that is asked for and the model cannot.
    """
    mode = config.activation_checkpointing
    able = bool(getattr(encoder.backbone, "supports_gradient_checkpointing", False))
    device, precision = training_device(config), training_precision(config)
    longest = encoder.recipe.max_length
    needed = mode == "always" or tokens_that_fit(encoder, device, precision) < longest
    if mode == "never" or is_recomputed(encoder) or not needed:
        return
    if not able and mode == "always":
        raise ConfigError(
            f"{printable(encoder.source)} cannot compute its layers again. Leave out "
            "trainer.activation_checkpointing."
        )
    if able:
        backbone: Any = encoder.backbone
        # Releases of transformers 5 have either name. The reentrant kind cannot be nested, and
        # cached chunks are computed again, too.
        now, before = "activation_checkpointing_enable", "gradient_checkpointing_enable"
        enable = getattr(backbone, now if hasattr(backbone, now) else before)
        enable({"use_reentrant": False})
    if able and mode == "auto":
        say(
            f"A text of {longest:,} tokens does not fit in the memory beside the weights: each "
            "layer is computed again in the backward (trainer.activation_checkpointing=never: not)."
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had no room for a tensor: on a GPU an error of its own, on a CPU any."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def layers_of(encoder: nn.Module) -> nn.ModuleList:
    """The transformer's layers: of its lists of modules the one with the most weights."""
    stacks = [part for part in encoder.modules() if isinstance(part, nn.ModuleList)]
    return max(stacks, key=_weights, default=nn.ModuleList())


def _weights(part: nn.Module) -> int:
    return sum(math.prod(_whole_shape(parameter)) for parameter in part.parameters())
