"""What a transformer's folder says of itself, looked at before a library acts on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whet.errors import ConfigError
from whet.model.contained import check_files
from whet.model.tensors import AGAIN, Shapes, shapes_of_model
from whet.printable import printable
from whet.storage.readable import readable_json

CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SMALL_FILES = (TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json")
# Keys that make transformers read other files, other repositories or other kinds of weights.
NOT_FOLLOWED = {
    "configuration_files": "another file instead of itself",
    "transformers_weights": "a file of weights with a name of its own",
    "quantization_config": "quantized weights",
    "fusion_config": "modules to be fused",
    "use_pretrained_backbone": "the weights of another model",
}
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation")
# Numbers of things that are built one by one; ALBERT's layers share their tensors.
COUNTS = re.compile(r"layer|expert|group|depth|stage|block")
SIZES = re.compile(r"size|dim|norm|window|drop|type|freq|std")
MOST_BUILT = 1_000
MOST_LABELS = 1_000_000
LARGEST = 2**31 - 1


def check_transformer(folder: Path) -> Shapes:
    """Look at a transformer's folder; the shapes of its tensors. Reads small files and headers.

    Raises ConfigError with the first file that is damaged, leads out of the folder, or asks for
    what a model may not ask for, and EnvironmentRefused for one too large for this machine.
    """
    check_files(folder)
    config = readable_json(folder / CONFIG, remedy=AGAIN, error=ConfigError)
    _check_kind(folder, config)
    check_tokenizer_files(folder)
    shapes = shapes_of_model(folder)
    _check_numbers(folder / CONFIG, config, max(MOST_BUILT, len(shapes)))
    return shapes


def check_tokenizer_files(folder: Path) -> None:
    """Look at the small files beside a tokenizer: objects, and no path in them."""
    for name in SMALL_FILES:
        if (folder / name).exists():
            readable_json(folder / name, remedy=AGAIN, error=ConfigError)
    path = folder / TOKENIZER_CONFIG
    if not path.exists():
        return
    named = readable_json(path, remedy=AGAIN, error=ConfigError).get("fast_tokenizer_files", [])
    plain = isinstance(named, list) and all(isinstance(name, str) for name in named)
    if not plain or any("/" in name for name in named):
        raise ConfigError(f'{printable(path)}: "fast_tokenizer_files" is no list of names. {AGAIN}')


def _check_kind(folder: Path, config: dict[str, Any]) -> None:
    path = printable(folder / CONFIG)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:  # transformers would guess it from the folder's name
        raise ConfigError(f'{path} has no "model_type". {AGAIN}')
    for key, what in NOT_FOLLOWED.items():
        if config.get(key):
            raise ConfigError(
                f'{path} asks by "{key}" for {what}, which is not followed. Give a model of plain '
                "float weights in model.safetensors."
            )
    for key in KERNELS:
        if "/" in str(config.get(key)):
            raise ConfigError(
                f'{path} asks by "{key}" for code of the hub, which is not run. Remove that line.'
            )


def _check_numbers(path: Path, config: dict[str, Any], most: int) -> None:
    """Refuse a number of layers or labels that would fill the memory before a tensor is read."""
    for key, number in _numbers(config):
        counts = COUNTS.search(key) and not SIZES.search(key)
        limit = most if counts else MOST_LABELS if key == "num_labels" else LARGEST
        if abs(number) > limit:
            digits = f"{number:,}" if abs(number) < 10**30 else "over 30 digits"
            raise ConfigError(
                f'{printable(path)}: "{printable(key)}" is {digits}, and {limit:,} is the most '
                f"that a model with these weights can have. {AGAIN}"
            )


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number below a value, with the key it stands under."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part, key)
    elif isinstance(value, int):
        yield key, value
