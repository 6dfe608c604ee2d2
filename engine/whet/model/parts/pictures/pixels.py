"""A picture as a model gets it: cut to the model's size, and not yet scaled.

Shape suffixes: H rows, W columns of pixels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np

from whet.types import Picture

PATCH = 16  # pixels of an edge of what counts as a token, as many vision transformers cut them
GREY = 128


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of one picture, uint8 [3, H, W]. Its length is what it costs in tokens."""

    pixels_3HW: np.ndarray

    def __len__(self) -> int:
        return cost_of(*self.pixels_3HW.shape[1:])


def cost_of(height: int, width: int) -> int:
    """What a picture of that size costs, in tokens.

    >>> cost_of(224, 224), cost_of(10, 10)
    (196, 1)
    """
    return max(1, height * width // PATCH**2)


@cache
def grey_picture() -> Picture:
    """A small grey picture, where any picture will do."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (PATCH, PATCH), (GREY, GREY, GREY)).save(file, "PNG")
    return Picture(file.getvalue())
