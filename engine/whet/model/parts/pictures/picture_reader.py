"""Pictures as an encoder reads them: opened, and cut to the model's size, on several threads.

Shape suffixes: B pictures, H rows, W columns of pixels, L places, D dimensions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whet.errors import ConfigError
from whet.model.parts.pictures.framing import Framing
from whet.model.parts.pictures.picture_kinds import POOLER, PROCESSOR
from whet.model.parts.pictures.pixels import Pixels, grey_picture
from whet.printable import printable
from whet.storage.pictures import opened
from whet.types import Picture

MOST_THREADS = 8  # each holds a whole picture, which may have 200 MB
FILES = 64  # whose bytes are in memory
NAME = "a picture"


@dataclass(frozen=True)
class PictureReader:
    """How pictures are cut for a model, how many numbers each of its output's vectors has, and how
    many bytes the backward of one picture needs in float32.
    """

    framing: Framing
    source: Path
    hidden: int
    held: int

    reads = ("pictures",)

    @property
    def filler(self) -> Picture:
        """Any picture, where it does not matter which."""
        return grey_picture()

    typical = filler  # all are cut to one size

    def tokens(self, pictures: Sequence[Any], kind: str) -> list[Pixels]:
        """The pixels of each picture. ConfigError for a text, DataError for a picture that cannot
        be opened.
        """
        if len(pictures) < 2:
            return [self._pixels(picture) for picture in pictures]
        threads = min(len(pictures), os.cpu_count() or 1, MOST_THREADS)
        pixels: list[Pixels] = []
        with ThreadPoolExecutor(threads, "pictures") as pool:  # Pillow computes without the GIL
            for start in range(0, len(pictures), FILES):
                pixels += pool.map(self._pixels, pictures[start : start + FILES])
        return pixels

    def _pixels(self, picture: Any) -> Pixels:
        if not isinstance(picture, Picture):
            raise ConfigError(
                f"{printable(self.source)} reads pictures, and was given a text. Give a model of "
                "texts, such as model.name=minilm."
            )
        return Pixels(self.framing.framed(opened(picture.payload, NAME)))

    def check_known(self, tokens: Sequence[Any]) -> None:
        """Nothing: pixels have no vocabulary."""

    def write(self, draft: Path) -> None:
        """Write into a draft what other tools read of it."""
        said = json.dumps(self.framing.said, indent=2) + "\n"
        (draft / PROCESSOR).write_text(said, encoding="utf-8")

    def digest(self) -> bytes:
        """What decides what becomes of a picture before the model."""
        return self.framing.deciding().encode()


def stacked_pixels(pictures: Sequence[Pixels]) -> Tensor:
    """The pixels of pictures of one size, uint8 [B, 3, H, W]."""
    return torch.from_numpy(np.stack([picture.pixels_3HW for picture in pictures]))


def place_vectors(
    backbone: nn.Module, pixels_B3HW: Tensor, framing: Framing, pooling: str
) -> Tensor:
    """The vectors that a model gives of the places of pictures, [B, L, D]; where it pools them
    itself, the one.
    """
    scaled_B3HW = framing.scaled(pixels_B3HW).to(next(backbone.parameters()).dtype)
    # Convolutions on a CPU take 0.7 of the time with the channels of a pixel side by side.
    scaled_B3HW = scaled_B3HW.contiguous(memory_format=torch.channels_last)
    output: Any = backbone(pixel_values=scaled_B3HW)
    if pooling == POOLER:
        return output.pooler_output.flatten(1)[:, None]  # type: ignore[no-any-return]
    places: Tensor = output.last_hidden_state
    return places.flatten(2).transpose(1, 2) if places.dim() == 4 else places
