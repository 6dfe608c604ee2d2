"""A LoRA adapter of peft: what its folder says, and its updates in the weights of its base.

Its files are read as a model's are: safetensors alone, and no path of theirs is followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whet.errors import ConfigError, UnsupportedModel
from whet.model.contained import check_files
from whet.model.parts.layout import ADAPTER, TRANSFORMER, listed_parts
from whet.model.tensors import AGAIN, shapes_in
from whet.printable import printable
from whet.storage.readable import readable_json

if TYPE_CHECKING:
    from torch import Tensor, nn

UPDATES = "adapter_model.safetensors"
# Kinds of updates beside plain ones: each would be another sum.
OTHER_UPDATES = (
    *("use_dora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication", "velora_config"),
    *("trainable_token_indices", "target_parameters", "alora_invocation_tokens", "arrow_config"),
    *("loftq_config", "monteclora_config", "megatron_config"),
)
PART = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B)(\.weight)?")
NAME = re.compile(r"[\w.]+")  # of a module, not an expression, which might run for ever
MERGE = "Only plain LoRA updates are read: merge it once, with peft's merge_and_unload."
FRONT = "base_model.model."  # of every name in the file


@dataclass(frozen=True)
class Adapter:
    """What an adapter's folder says."""

    folder: Path  # of adapter_config.json
    base: str  # a folder or a name on the hub
    revision: str | None
    alpha: float
    alphas: dict[str, float]  # of modules whose names end so
    by_root: bool  # alpha counts over the root of the rank (rsLoRA)
    transposed: bool

    def scale(self, module: str, rank: int) -> float:
        """How much the update of a module counts: alpha / r, or alpha / sqrt(r)."""
        own = (self.alphas[name] for name in self.alphas if f".{module}".endswith(f".{name}"))
        alpha = next(own, self.alpha)
        return alpha / (rank**0.5 if self.by_root else rank)


def adapter_in(folder: Path) -> Adapter | None:
    """The adapter of a folder that has no weights of its own; None where it is a whole model.

    Raises UnsupportedModel for updates of another kind than LoRA's plain ones, ConfigError for a
    damaged file and for pickled weights.
    """
    inner = folder
    if not (folder / ADAPTER).is_file():
        if not (folder / "modules.json").is_file() or not any(folder.glob(f"*/{ADAPTER}")):
            return None
        kind, inner = next(iter(listed_parts(folder)), ("", folder))
        if kind != TRANSFORMER or not (inner / ADAPTER).is_file():
            return None
    if (inner / "config.json").is_file():
        return None
    check_files(folder)
    return _read(inner)


def _read(inner: Path) -> Adapter:
    path = inner / ADAPTER
    config = readable_json(path, remedy=AGAIN, error=ConfigError)
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ConfigError(f'{printable(path)} has no "base_model_name_or_path". {AGAIN}')
    if config.get("peft_type") != "LORA":
        kind = printable(str(config.get("peft_type"))[:60])
        raise UnsupportedModel(f"{printable(path)}: an adapter of type {kind}. {MERGE}")
    unlike = next((name for name in OTHER_UPDATES if config.get(name)), None)
    if unlike or config.get("bias", "none") != "none":
        raise UnsupportedModel(f'{printable(path)} has "{unlike or "bias"}". {MERGE}')
    if not (inner / UPDATES).is_file():
        raise ConfigError(
            f"{printable(inner)} has no {UPDATES}; pickled weights can run code and are not read. "
            "Save the adapter once with peft's save_pretrained."
        )
    shapes_in(inner / UPDATES)
    alpha, alphas = config.get("lora_alpha", 8), config.get("alpha_pattern") or {}
    numbers = [alpha, *(alphas.values() if isinstance(alphas, dict) else [alphas])]
    if not all(type(number) in (int, float) for number in numbers):
        raise ConfigError(f'{printable(path)}: "lora_alpha" or "alpha_pattern" is odd. {AGAIN}')
    if not all(NAME.fullmatch(name) for name in alphas):
        raise UnsupportedModel(f'{printable(path)}: "alpha_pattern" has expressions. {MERGE}')
    revision = config.get("revision")
    return Adapter(
        inner,
        base,
        revision if isinstance(revision, str) else None,
        alpha,
        alphas,
        by_root=bool(config.get("use_rslora")),
        transposed=bool(config.get("fan_in_fan_out")),
    )


def add_updates(backbone: nn.Module, adapter: Adapter) -> None:
    """Add W + scale * B A to the weights W of each module that the adapter names (LoRA, arXiv
    2106.09685), the sum in float64; whole tensors of its own take the place of the base's.

    Raises ConfigError for what the base has not, or has in another shape.
    """
    from safetensors.torch import load_file

    pairs: dict[str, dict[str, Tensor]] = {}
    weights = dict(backbone.named_parameters())
    for key, tensor in load_file(adapter.folder / UPDATES).items():
        name = key.removeprefix(FRONT)
        part = PART.fullmatch(name)
        if part is None:
            weight = _weight(weights, name, adapter, backbone)
            _put(weight, tensor.double(), name, adapter)
        else:
            pairs.setdefault(part["module"], {})[part["part"]] = tensor.double()
    for module, both in pairs.items():
        weight = _weight(weights, f"{module}.weight", adapter, backbone)
        first, second = ("embedding_A", "embedding_B") if "embedding_A" in both else ("A", "B")
        if set(both) != {first, second} or any(part.ndim != 2 for part in both.values()):
            raise UnsupportedModel(
                f"{printable(adapter.folder / UPDATES)}: the update of {printable(module)} is no "
                f"product of two matrices. {MERGE}"
            )
        update = both[second] @ both[first] * adapter.scale(module, len(both[first]))
        if first == "embedding_A" or adapter.transposed:
            update = update.T
        if update.shape == weight.shape:
            update += weight.data.double()
        _put(weight, update, module, adapter)


def _weight(
    weights: dict[str, nn.Parameter], name: str, adapter: Adapter, backbone: nn.Module
) -> nn.Parameter:
    """The weight of that name; an adapter of a model with a head has the transformer's name before
    it.
    """
    prefix = getattr(backbone, "base_model_prefix", "")
    for known in (name, name.removeprefix(f"{prefix}.")):
        if known in weights:
            return weights[known]
    raise ConfigError(
        f"{printable(adapter.folder)} updates {printable(name)}, which {printable(adapter.base)} "
        "has not. It is an adapter of another model."
    )


def _put(weight: nn.Parameter, numbers: Tensor, name: str, adapter: Adapter) -> None:
    if numbers.shape != weight.shape:
        raise ConfigError(
            f"{printable(adapter.folder)} updates {printable(name)} by numbers of the shape "
            f"{list(numbers.shape)}, and {printable(adapter.base)} has {list(weight.shape)}. It is "
            "an adapter of another model."
        )
    weight.data.copy_(numbers)
