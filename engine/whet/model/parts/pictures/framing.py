"""How pictures are cut to a model's size and scaled, as its preprocessor_config.json says.

transformers reads that file, with the defaults of the class that it names; the pixels are made
here, by Pillow, as that class makes them without torchvision.

Shape suffixes: B pictures, H rows, W columns of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from whet.errors import ConfigError, EnvironmentRefused, UnsupportedModel
from whet.model.loading import library_errors
from whet.model.parts.pictures.picture_kinds import EFFICIENTNET, PROCESSOR
from whet.model.tensors import AGAIN
from whet.printable import printable
from whet.storage.readable import readable_json
from whet.version import install_line

if TYPE_CHECKING:
    from PIL.Image import Image

CONVNEXT = "ConvNextImageProcessor"
# Classes that do what these keys say, one after the other, and nothing else.
PLAIN = ("ViT", "DeiT", "Bit", "CLIP", "Siglip", "MobileNetV1", "MobileNetV2", "Pvt")
CLASSES = (*(f"{name}ImageProcessor" for name in PLAIN), CONVNEXT, EFFICIENTNET)
UNDERSTOOD = {
    *("image_processor_type", "feature_extractor_type", "processor_class", "default_to_square"),
    *("do_resize", "size", "resample", "do_center_crop", "crop_size", "crop_pct"),
    *("do_rescale", "rescale_factor", "rescale_offset"),
    *("do_normalize", "image_mean", "image_std", "include_top"),
    *("do_convert_rgb", "do_reduce_labels", "data_format", "input_data_format", "return_tensors"),
    *("device", "disable_grouping", "_processor_class", "_valid_processor_keys"),
}
CONVNEXT_WARPS_FROM = 384  # pixels; smaller pictures are cut from one that is resized larger
LARGEST_EDGE = 4096  # pixels
WIDEST = 32  # times as wide as high, or the reverse: more would be thrown away after resizing
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Framing:
    """A picture is resized (to a size, or by its shorter edge), cut in the middle, and scaled:
    (value * scale - mean) / std.
    """

    resize: Size | int | None
    crop: Size | None
    resample: int  # Pillow's number of the filter
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    said: dict[str, Any] = field(compare=False)  # for other tools, as transformers reads it

    @property
    def size(self) -> Size:
        """Height and width of what the model gets."""
        if self.crop is not None:
            return self.crop
        assert isinstance(self.resize, tuple)
        return self.resize

    def framed(self, image: Image) -> np.ndarray:
        """The pixels of an RGB picture that the model gets, uint8 [3, H, W]."""
        from PIL.Image import Resampling

        if self.crop is not None:
            image = _middle(image)
        height, width = self._resized(image.height, image.width)
        top = left = 0
        if self.crop is not None:
            top, left = (height - self.crop[0]) // 2, (width - self.crop[1]) // 2
        rows, columns = self.size
        if (height, width) != (image.height, image.width) or self.resize is not None:
            image = image.resize((width, height), Resampling(self.resample))
        if self.crop is not None:
            # where the picture is smaller, with black around it
            image = image.crop((left, top, left + columns, top + rows))
        return np.ascontiguousarray(np.moveaxis(np.asarray(image), -1, 0))

    def _resized(self, height: int, width: int) -> Size:
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        longer = int(self.resize * max(height, width) / min(height, width))
        return (longer, self.resize) if width <= height else (self.resize, longer)

    def scaled(self, pixels_B3HW: Tensor) -> Tensor:
        """Float32 numbers as the model gets them, of uint8 pixels."""
        mean_311, std_311 = (
            torch.tensor(part, device=pixels_B3HW.device)[:, None, None]
            for part in (self.mean, self.std)
        )
        return (pixels_B3HW.float() * self.scale - mean_311) / std_311

    def deciding(self) -> str:
        """What decides the model's input."""
        return repr((self.resize, self.crop, self.resample, self.scale, self.mean, self.std))


def _middle(image: Image) -> Image:
    """The middle of a very long picture, which resized by its shorter edge would not fit in
    memory; any other as it is.
    """
    longest = WIDEST * min(image.size)
    width, height = (min(edge, longest) for edge in image.size)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def read_framing(folder: Path, image_size: int | None = None) -> Framing:
    """What a folder says of the pictures that its model gets, whose edges `image_size` sets.

    Raises UnsupportedModel where it says something that is not understood, ConfigError where it is
    missing or damaged, EnvironmentRefused without Pillow.
    """
    path = folder / PROCESSOR
    if not path.is_file():
        raise ConfigError(
            f"{printable(path)} is missing, which says how pictures are cut for this model. {AGAIN}"
        )
    readable_json(path, remedy=AGAIN, error=ConfigError)
    if find_spec("PIL") is None:
        raise EnvironmentRefused(f"Pictures need Pillow. Run `{install_line('images')}`.")
    from transformers import AutoImageProcessor

    with library_errors(folder):
        said = AutoImageProcessor.from_pretrained(folder, local_files_only=True).to_dict()
    try:
        _check_understood(path, said)
        if image_size is not None:
            said = _of_size(path, said, image_size)
        return _framing(path, said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{printable(path)} is damaged ({type(error).__name__}: {printable(str(error)[:100])})."
            f" {AGAIN}"
        ) from error


def _check_understood(path: Path, said: dict[str, Any]) -> None:
    kind = said["image_processor_type"]
    if kind not in CLASSES:
        raise UnsupportedModel(
            f"{printable(path)}: pictures made by {printable(str(kind))} are not supported. Use a "
            f"model with one of {', '.join(CLASSES)}."
        )
    for key, value in said.items():
        if key not in UNDERSTOOD and value is not None and value is not False:
            raise UnsupportedModel(
                f'{printable(path)}: "{printable(key[:100])}" is not understood, and may change '
                "every picture. Use a model without it."
            )


def _framing(path: Path, said: dict[str, Any]) -> Framing:
    kind = said["image_processor_type"]
    resize, crop = _resize(path, said), None
    if said.get("do_center_crop"):
        crop = _size(said["crop_size"])
    if kind == CONVNEXT and isinstance(resize, int):
        edge = resize
        warped = edge >= CONVNEXT_WARPS_FROM
        resize = (edge, edge) if warped else int(edge / float(said["crop_pct"]))
        crop = None if warped else (edge, edge)
    if crop is None and not isinstance(resize, tuple):
        raise UnsupportedModel(
            f"{printable(path)}: pictures keep their own size or shape, which is not supported. "
            "Set model.image_size, to cut squares of that edge."
        )
    mean, std = [0.0] * 3, [1.0] * 3
    if said.get("do_normalize"):
        mean, std = ([float(n) for n in said[key]] for key in ("image_mean", "image_std"))
    if kind == EFFICIENTNET and said.get("rescale_offset") and said.get("do_rescale"):
        mean = [each + 1 for each in mean]
    if kind == EFFICIENTNET and said.get("include_top"):  # divided once more
        std = [one * float(other) for one, other in zip(std, said["image_std"], strict=True)]
    if len(mean) != 3 or len(std) != 3 or not all(std):
        raise ValueError("image_mean and image_std must be three numbers, none of std 0")
    scale = float(said["rescale_factor"]) if said.get("do_rescale") else 1.0
    resample = said.get("resample")
    number = 2 if resample is None else int(resample)
    return Framing(resize, crop, number, scale, tuple(mean), tuple(std), said)


def _resize(path: Path, said: dict[str, Any]) -> Size | int | None:
    if not said.get("do_resize"):
        return None
    size = {key: value for key, value in said["size"].items() if value is not None}
    if set(size) == {"shortest_edge"}:
        return _edge(size["shortest_edge"])
    if set(size) == {"height", "width"}:
        return _size(size)
    raise UnsupportedModel(
        f"{printable(path)}: a size by {printable(', '.join(size))} is not supported. Use a model "
        "with height and width, or shortest_edge."
    )


def _size(said: dict[str, Any]) -> Size:
    return _edge(said["height"]), _edge(said["width"])


def _edge(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST_EDGE:
        raise ValueError(f"an edge is 1 to {LARGEST_EDGE} pixels")
    return value


def _of_size(path: Path, said: dict[str, Any], edge: int) -> dict[str, Any]:
    """What says the same of pictures with edges of another length."""
    square = {"height": edge, "width": edge}
    resize = _resize(path, said)
    if said["image_processor_type"] == CONVNEXT:
        return {**said, "size": {"shortest_edge": edge}}
    if not said.get("do_center_crop"):
        if isinstance(resize, int):  # the middle of what has its own shape
            return {**said, "do_center_crop": True, "crop_size": square}
        return {**said, "do_resize": True, "size": square}
    height, width = _size(said["crop_size"])
    if isinstance(resize, int):
        around = {"shortest_edge": round(resize * edge / min(height, width))}
    elif resize is not None:
        around = {"height": round(resize[0] * edge / height)}
        around |= {"width": round(resize[1] * edge / width)}
    else:
        around = square
    return {**said, "size": around, "crop_size": square}
