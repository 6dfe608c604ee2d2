"""Which models of pictures are known, and what of their output is a picture's vector (no torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whet.errors import ConfigError, UnsupportedModel
from whet.model.gate import CONFIG
from whet.model.tensors import AGAIN
from whet.printable import printable
from whet.storage.readable import readable_json

PROCESSOR = "preprocessor_config.json"  # says how pictures are cut
EFFICIENTNET = "EfficientNetImageProcessor"  # the class that says it of an EfficientNet
# By transformers' model_type: the vector of the first token, the mean of all places, or what the
# model itself makes of them.
CLS, MEAN, POOLER = "cls", "mean", "pooler"
POOLINGS = {
    **dict.fromkeys(("vit", "vit_msn", "deit", "dinov2", "dinov2_with_registers"), CLS),
    **dict.fromkeys(("efficientnet", "mobilenet_v1", "mobilenet_v2", "resnet", "regnet"), MEAN),
    **dict.fromkeys(("convnext", "convnextv2"), POOLER),
}
CHOICES = {CLS: (CLS, MEAN), MEAN: (MEAN,), POOLER: (POOLER,)}


def picture_type(folder: Path) -> str | None:
    """The type of a folder's model, where it is one of pictures; None for all others.

    UnsupportedModel for one of pictures that is not known.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    config: dict[str, Any] = readable_json(path, remedy=AGAIN, error=ConfigError)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        return None
    if kind in POOLINGS:
        return kind
    if "num_channels" in config and "vocab_size" not in config:
        raise UnsupportedModel(
            f"{printable(folder)}: a model of pictures of type {printable(kind)} is not supported. "
            f"These are: {', '.join(POOLINGS)}."
        )
    return None
