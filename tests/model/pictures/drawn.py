"""Tiny models of pictures with random weights, as transformers writes them, and drawn pictures."""

from __future__ import annotations

import io
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from whet.types import Picture

VIT = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 0.2],
}
EFFICIENTNET = {
    "image_processor_type": "EfficientNetImageProcessor",
    "size": {"height": 64, "width": 64},
    "include_top": False,
}
CONVNEXT = {
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_pct": 0.875,
}
MOBILENET = {
    "image_processor_type": "MobileNetV2ImageProcessor",
    "size": {"shortest_edge": 48},
    "crop_size": {"height": 32, "width": 32},
}
DINO = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 40},
    "crop_size": {"height": 28, "width": 28},
    "resample": 3,
}


def tiny(kind: str) -> tuple[Any, dict[str, Any]]:
    """A model of a type without sense, and what its preprocessor_config.json says."""
    library: Any = import_module("transformers")

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    if kind == "vit":
        config = library.ViTConfig(**sizes, intermediate_size=64, image_size=32, patch_size=8)
        return library.ViTModel(config), VIT
    if kind == "dinov2":
        config = library.Dinov2Config(**sizes, mlp_ratio=2, image_size=28, patch_size=7)
        return library.Dinov2Model(config), DINO
    if kind == "efficientnet":
        config = library.EfficientNetConfig(
            width_coefficient=0.25, depth_coefficient=0.2, hidden_dim=320, image_size=64
        )
        return _settled(library.EfficientNetModel(config)), EFFICIENTNET
    if kind == "convnext":
        config = library.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])
        return library.ConvNextModel(config), CONVNEXT
    if kind == "mobilenet_v2":
        config = library.MobileNetV2Config(depth_multiplier=0.25, image_size=32)
        return _settled(library.MobileNetV2Model(config)), MOBILENET
    assert kind == "resnet"
    config = library.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    return _settled(library.ResNetModel(config)), CONVNEXT


def _settled(model: Any) -> Any:
    """With the means that a trained model's batch norms have: about those of its numbers, which are
    large beside what the norms add to them.
    """
    model.train()
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.weight.data.mul_(2 / part.weight.data.std() / part.weight[0].numel() ** 0.5)
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 0.5
            part.weight.data.fill_(1.0)
    with torch.no_grad():
        for _ in range(4):
            model(pixel_values=torch.randn(8, 3, 64, 64))
    return model.eval()


def write_tiny(folder: Path, kind: str, **said: Any) -> Path:
    """Write such a model."""
    model, processor = tiny(kind)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**processor, **said}))
    return folder


def drawn(seed: int, width: int = 50, height: int = 40) -> Image.Image:
    """A picture of coloured patches that differs with the seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def picture(seed: int, width: int = 50, height: int = 40) -> Picture:
    """The same as the bytes of a PNG."""
    file = io.BytesIO()
    drawn(seed, width, height).save(file, "PNG")
    return Picture(file.getvalue())
