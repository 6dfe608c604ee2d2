"""Strangers' pictures: each is opened upright in plain colours, or refused in one line."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest

from whet.errors import DataError
from whet.storage.pictures import MOST_BYTES, opened, picture_fault

PIL = pytest.importorskip("PIL.Image")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners(width: int = 6, height: int = 4) -> PIL.Image:
    """Red, green, blue and white in the four corners' quarters."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for row, column, colour in ((0, 0, RED), (0, 1, GREEN), (1, 0, BLUE), (1, 1, WHITE)):
        rows = slice(row * height // 2, (row + 1) * height // 2)
        pixels[rows, column * width // 2 : (column + 1) * width // 2] = colour
    return PIL.fromarray(pixels)


def saved(image: PIL.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says a size and holds nothing of it."""
    content = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [b"IHDR" + content, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND"]
    chunks = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def exif(turn: int) -> bytes:
    notes = PIL.Exif()
    notes[0x0112] = turn
    return notes.tobytes()


SVG = (
    b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
)
BILLION = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg>&b;</svg>'
)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64
REFUSED = {
    "empty": (b"", "is empty"),
    "a bomb by its header": (png_header(60_000, 60_000), "pixels"),
    "a bomb in one edge": (png_header(1_000_000, 2), "pixels"),
    "just too many pixels": (png_header(8_001, 8_000), "64,000,000"),
    "no pixel": (png_header(0, 4), "damaged|no picture"),
    "too large a file": (b"\x89PNG\r\n\x1a\n" + b"\0" * MOST_BYTES, "bytes"),
    "a truncated PNG": (saved(corners(400, 300), compress_level=0)[:2000], "damaged"),
    "a truncated JPEG": (saved(corners(400, 300), "JPEG")[:600], "damaged"),
    "a truncated GIF": (saved(corners(400, 300), "GIF")[:60], "damaged"),
    "a truncated WebP": (saved(corners(400, 300), "WEBP")[:60], "damaged|no picture"),
    "a head alone": (b"\x89PNG\r\n\x1a\n", "damaged|no picture"),
    "a damaged chunk": (saved(corners()).replace(b"IDAT", b"IDAX"), "damaged|no picture"),
    "a web page": (b"<!DOCTYPE html><html><script>alert(1)</script></html>", "web page"),
    "a web page in spaces": (b"\n  <HTML><body>", "web page"),
    "an SVG with a script": (SVG, "SVG"),
    "an SVG that unpacks": (BILLION, "SVG"),
    "HEIC": (HEIC, "HEIC"),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3", "no picture"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
    "text": (b"not a picture at all", "no picture"),
    "zeros": (b"\0" * 1000, "no picture"),
    "a zip": (b"PK\x03\x04" + b"\0" * 100, "no picture"),
    "fractions": (saved(PIL.fromarray(np.ones((4, 6), np.float32)), "TIFF"), "measurements"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_one_line_that_names_it(name):
    payload, why = REFUSED[name]
    with pytest.raises(DataError, match=why) as caught:
        opened(payload, "shelf/cup.png")
    line = str(caught.value)
    assert line.startswith("shelf/cup.png ") and "\n" not in line and len(line) < 400
    assert picture_fault(payload) in line


def test_a_name_cannot_steer_a_terminal():
    with pytest.raises(DataError) as caught:
        opened(b"", "\x1b[31mred.png")
    assert "\x1b" not in str(caught.value)


# turned back, each looks like the first
TURNED = {
    1: lambda image: image,
    2: lambda image: image.transpose(PIL.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(PIL.Transpose.ROTATE_180),
    4: lambda image: image.transpose(PIL.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(PIL.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(PIL.Transpose.ROTATE_90),
    7: lambda image: image.transpose(PIL.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(PIL.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("turn", TURNED)
def test_a_camera_that_lay_on_its_side_is_turned_upright(turn):
    payload = saved(TURNED[turn](corners()), exif=exif(turn))
    assert np.array_equal(np.asarray(opened(payload, "")), np.asarray(corners()))


def test_damaged_notes_of_a_camera_cost_nothing():
    payload = saved(corners(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(np.asarray(opened(payload, "")), np.asarray(corners()))


def _grey16() -> PIL.Image:
    return PIL.fromarray((np.arange(24, dtype=np.uint16) * 2_849).reshape(4, 6))


def _see_through() -> PIL.Image:
    image = corners().convert("RGBA")
    image.putpixel((0, 0), (9, 9, 9, 0))
    return image


def _palette_with_a_hole() -> bytes:
    image = corners().quantize(8)
    return saved(image, transparency=image.getpixel((0, 0)))


OPENED = {
    "palette": (saved(corners().quantize(8)), lambda p: p[0, 0] == RED),
    "palette with a hole": (_palette_with_a_hole(), lambda p: p[0, 0] == WHITE),
    "CMYK": (
        saved(corners(60, 40).convert("CMYK"), "JPEG", quality=95),
        lambda p: p[2, 2][0] > 200,
    ),
    "grey": (saved(corners().convert("L")), lambda p: len(set(p[0, 0])) == 1),
    "grey and see-through": (saved(_see_through().convert("LA")), lambda p: p[0, 0] == WHITE),
    "one bit": (saved(corners().convert("1")), lambda p: p[3, 5] == WHITE),
    "see-through": (saved(_see_through()), lambda p: p[0, 0] == WHITE and p[0, 5] == GREEN),
    "16 bits of grey": (
        saved(_grey16()),
        lambda p: (
            [p[row, column][0] for row in range(4) for column in range(6)]
            == [value * 2_849 >> 8 for value in range(24)]
        ),
    ),
    "a moving GIF": (
        saved(corners(), "GIF", save_all=True, append_images=[PIL.new("RGB", (6, 4), BLUE)] * 3),
        lambda p: p[0, 0] == RED,
    ),
    "a moving WebP": (
        saved(
            corners(), "WEBP", save_all=True, append_images=[PIL.new("RGB", (6, 4))], lossless=True
        ),
        lambda p: p[0, 0] == RED,
    ),
    "BMP": (saved(corners(), "BMP"), lambda p: p[3, 0] == BLUE),
    "TIFF": (saved(corners(), "TIFF"), lambda p: p[3, 0] == BLUE),
    "YCbCr": (saved(corners(60, 40), "JPEG", quality=95), lambda p: p[39, 59][0] > 250),
}


@pytest.mark.parametrize("name", OPENED)
def test_each_kind_of_picture_becomes_plain_colours(name):
    payload, looks_right = OPENED[name]
    image = opened(payload, name)
    assert image.mode == "RGB" and picture_fault(payload) is None
    pixels = np.asarray(image)
    looked = {index: tuple(pixels[index].tolist()) for index in np.ndindex(pixels.shape[:2])}
    assert looks_right(looked)


def test_the_ending_of_a_name_decides_nothing():
    assert opened(saved(corners(), "JPEG"), "picture.png").size == (6, 4)
