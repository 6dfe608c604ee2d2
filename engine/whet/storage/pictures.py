"""Pictures of strangers: opened within limits and turned upright, or refused in one line.

Only Pillow reads them, only the formats listed here are tried (told by the bytes, never by the
name), and nothing of a file is kept or served but the pixels that were read from it.
"""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from whet.errors import DataError, EnvironmentRefused
from whet.printable import printable
from whet.version import install_line

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".ppm", ".pgm"),
)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
MOST_BYTES = 64 << 20  # of a file
MOST_PIXELS = 64_000_000  # of a picture; in memory each has 3 bytes, a photograph 12 to 50 million
LONGEST_EDGE = 32_768  # pixels
_HEIF = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1", b"ftypheim")
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_REMEDY = "Save it anew as PNG or JPEG, or leave it out."


class _Unreadable(Exception):
    """Why a picture cannot be had, in words that follow its name."""


def opened(payload: bytes, name: str) -> Image:
    """The picture of a file's bytes: upright (EXIF), RGB, the first frame of an animation, what is
    transparent on white, 16 bits a colour cut to 8.

    Raises DataError in one line that names it (`name`) where the bytes are no whole picture, or it
    is over 64 MiB, 64 million pixels or an edge of 32,768; EnvironmentRefused without Pillow.
    """
    try:
        return _upright(payload)
    except _Unreadable as fault:
        raise DataError(f"{printable(name)} {fault}. {_REMEDY}") from fault.__cause__


def thumbnail(payload: bytes, edge: int) -> bytes:
    """A small JPEG of the picture, at most `edge` pixels wide and high, made of its pixels alone.
    Raises what `opened` does.
    """
    image = opened(payload, "A picture")
    image.thumbnail((edge, edge))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def picture_fault(payload: bytes) -> str | None:
    """Why a file's bytes are no picture that `opened` opens, in words that follow its name, or
    None. The whole picture is decoded to know.
    """
    try:
        _upright(payload)
    except _Unreadable as fault:
        return str(fault)
    return None


def _upright(payload: bytes) -> Image:
    from_bytes, formats = _reader()
    if len(payload) > MOST_BYTES:
        raise _Unreadable(f"has {len(payload):,} bytes, and {MOST_BYTES:,} is the most")
    if not payload:
        raise _Unreadable("is empty")
    try:
        with from_bytes(io.BytesIO(payload), formats=formats) as image:
            width, height = image.size
            # the header says the size, before any pixel is read
            if width * height > MOST_PIXELS or max(width, height) > LONGEST_EDGE:
                raise _Unreadable(
                    f"has {width:,} x {height:,} pixels, and {MOST_PIXELS:,} in all and an edge of "
                    f"{LONGEST_EDGE:,} is the most"
                )
            image.load()
            return _in_colours(_turned(image))
    except _Unreadable:
        raise
    except Exception as error:  # Pillow raises what its many parsers raise
        raise _Unreadable(_reason(payload, error)) from error


@cache
def _reader() -> tuple[Any, list[str]]:
    """Pillow's way in, and the formats that this build of it has.

    EnvironmentRefused where it is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise EnvironmentRefused(
            f"Pictures are read with the extra images. Run `{install_line('images')}`."
        ) from error
    # its own limit is wider than ours, and tells from the header, too
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)
    Image.init()
    return Image.open, [name for name in FORMATS if name in Image.OPEN]


def _turned(image: Image) -> Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a camera's notes may be damaged where the picture is not
        return image


def _in_colours(image: Image) -> Image:
    """RGB, 8 bits a colour."""
    from PIL import Image

    if image.mode.startswith("I"):
        grey_HW = np.asarray(image, np.int64)
        # 16 bits of grey; Pillow's own conversion would cut all above 255 to white
        grey_HW = grey_HW >> 8 if grey_HW.max(initial=0) > 255 else grey_HW
        return Image.fromarray(grey_HW.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise _Unreadable("holds measurements (32-bit fractions), not colours")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def _reason(payload: bytes, error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return f"unpacks to over {MOST_PIXELS:,} pixels"
    if not isinstance(error, UnidentifiedImageError):
        return f"is a damaged picture ({printable(str(error))[:100] or type(error).__name__})"
    if payload.startswith(_BEGINNINGS):
        return "is a damaged picture, of which too little is left"
    if payload[4:12] in _HEIF:
        return "is a HEIC picture, which is not read here"
    head = payload[:512].lstrip().lower()
    if head.startswith((b"<?xml", b"<svg", b"<!doctype svg")) and b"<svg" in payload[:4096].lower():
        return "is an SVG drawing, which is not read here"
    if head.startswith((b"<!doctype", b"<html")):
        return "is a web page, not a picture"
    return "is no picture of a kind that is read here (PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF)"
