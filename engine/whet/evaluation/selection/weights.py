"""The weights that a training changes: kept, put back, mixed with those it began with.

A model that is a share of the way from one to the other: WiSE-FT (Wortsman et al., arXiv
2109.01903), equation 1.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from whet.errors import CheckpointError

Weights = dict[str, Tensor]
LORA_A, LORA_B = ".lora_A.", ".lora_B."


def trained_weights(encoder: nn.Module) -> Weights:
    """Copies on the CPU of all that is trained, by name; a weight with two names once."""
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in encoder.named_parameters()
        if parameter.requires_grad
    }


def put_weights(encoder: nn.Module, weights: Weights) -> None:
    """Give an encoder these weights."""
    own = dict(encoder.named_parameters())
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


def mixed(base: Weights, tuned: Weights, share: float) -> Weights:
    """base + share * (tuned - base), computed in float64; share 1 is `tuned` to the bit, 0 `base`.

    Of a low-rank update, whose product is added to a weight, the second factor is multiplied by
    the share: then so is what is added, and the adapter is one still. It began at 0 (LoRA, arXiv
    2106.09685, section 4.1).

    >>> ones, threes = {"w": torch.ones(1)}, {"w": torch.full((1,), 3.0)}
    >>> mixed(ones, threes, 0.25)["w"]
    tensor([1.5000])
    """
    return {name: _mixed(name, base[name], weight, share) for name, weight in tuned.items()}


def _mixed(name: str, base: Tensor, tuned: Tensor, share: float) -> Tensor:
    if LORA_A in name:
        return tuned.clone()
    start = torch.zeros_like(base) if LORA_B in name else base
    return ((1 - share) * start.double() + share * tuned.double()).to(tuned.dtype)


def write_weights(path: Path, weights: Weights) -> None:
    """As a safetensors file."""
    from safetensors.torch import save_file

    save_file(weights, path)


def read_weights(path: Path, like: Weights) -> Weights:
    """Those of a file, which must have the names and shapes of `like`; else CheckpointError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: Weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}). Start a new run.") from error
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    if shapes != {name: tensor.shape for name, tensor in like.items()}:
        raise CheckpointError(f"{path} is of another model. Start a new run.")
    return weights
