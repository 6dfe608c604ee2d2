"""Which tensors a model's weights hold, read from the headers of its safetensors files alone.

A file begins with the length of its header (8 bytes, little-endian) and the header, JSON that says
of each tensor its dtype, shape and first and last byte
(https://huggingface.co/docs/safetensors/index#format).
"""

from __future__ import annotations

import json
import os
import re
import stat
from math import prod
from pathlib import Path
from typing import Any

from whet.errors import ConfigError, EnvironmentRefused
from whet.model.contained import inner_path
from whet.printable import printable
from whet.processes.host import host_bytes
from whet.storage.readable import readable_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MOST_HEADER = 100_000_000  # bytes; the safetensors library's own limit
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
BYTES |= {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
AGAIN = "Fetch the model again, or give another."
# transformers would take such files for a checkpoint of another kind, and leave the others
SHARD = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")

Shapes = dict[str, tuple[int, ...]]


def shapes_of_model(folder: Path) -> Shapes:
    """The shape of each tensor of a transformer's folder: of `model.safetensors`, or of the files
    its index names.

    Raises ConfigError with the file that is missing, cut, or not safetensors, or lies outside of
    the folder, and EnvironmentRefused where the weights are larger than this machine's memory.
    """
    _check_names(folder)
    single = folder / WEIGHTS
    shapes: Shapes = {}
    for path in [single] if single.is_file() else _indexed(folder):
        shapes |= shapes_in(path)
    check_fits(sum(prod(shape) for shape in shapes.values()), folder)
    return shapes


def check_fits(numbers: int, folder: Path) -> None:
    """EnvironmentRefused where so many float32 numbers do not fit into this machine's memory."""
    memory = host_bytes()
    if numbers * 4 > memory:
        raise EnvironmentRefused(
            f"{printable(folder)}: a model of {numbers:,} numbers needs "
            f"{numbers * 4 / 2**30:,.0f} GiB in float32, and this machine has "
            f"{memory / 2**30:,.0f} GiB. Give a smaller model, or take a larger machine."
        )


def shapes_in(path: Path) -> Shapes:
    """The shape of each tensor of a safetensors file, whose header and size are checked.

    Raises ConfigError with the file and what is wrong with it.
    """
    header, room = _header(path)
    shapes: Shapes = {}
    spans = []
    for name, about in header.items():
        if name == "__metadata__":
            continue
        try:
            shape, (begin, end) = tuple(about["shape"]), about["data_offsets"]
            # type(), not isinstance: True is an int, too.
            whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
            fits = whole and end - begin == prod(shape) * BYTES[about["dtype"]]
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            what = f"its header is wrong about the tensor {printable(repr(name[:100]))}"
            raise _damaged(path, what)
        shapes[name] = shape
        spans.append((begin, end))
    # All together, because spans may overlap or leave gaps though each is right in itself.
    _check_spans(path, sorted(spans), room)
    return shapes


def _check_names(folder: Path) -> None:
    names = sorted(os.listdir(folder))
    for name in names:
        if SHARD.fullmatch(name):
            raise ConfigError(
                f"{printable(folder / name)} is a part of a distributed checkpoint, which is not "
                "read. Save the model once with transformers' save_pretrained."
            )
    if not any(name in (WEIGHTS, INDEX) for name in names):
        raise ConfigError(
            f"{printable(folder)} has neither {WEIGHTS} nor {INDEX}; pickled weights can run code "
            "and are not read. Convert them once with transformers' save_pretrained."
        )


def _indexed(folder: Path) -> list[Path]:
    """The files that an index names; each must be a safetensors file of the folder."""
    index = folder / INDEX
    listing = readable_json(index, remedy=AGAIN, error=ConfigError)
    placed = listing.get("weight_map")
    if not isinstance(placed, dict) or not isinstance(listing.get("metadata"), dict) or not placed:
        raise _damaged(index, 'it should hold "metadata" and a "weight_map", as objects')
    files = sorted({name if isinstance(name, str) else repr(name) for name in placed.values()})
    for name in files:
        if not name.endswith(".safetensors"):
            raise ConfigError(
                f"{printable(index)} names {printable(repr(name))}, which is no .safetensors file; "
                "pickled weights can run code and are not read. Convert them once with "
                "transformers' save_pretrained."
            )
    return [inner_path(folder, name, index) for name in files]


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes of tensors follow it."""
    try:
        with path.open("rb") as file:
            # Of the open file, which nobody can swap for another one in between.
            about = os.fstat(file.fileno())
            length = int.from_bytes(file.read(8), "little")
            if not stat.S_ISREG(about.st_mode) or about.st_size < 8:
                raise _damaged(path, f"it is cut: {about.st_size} bytes are no safetensors file")
            # Checked before it is read: the eight bytes may name any length.
            if length > min(MOST_HEADER, about.st_size - 8):
                raise _damaged(path, f"its header would have {length:,} bytes")
            header = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise ConfigError(f"{printable(path)} is missing. {AGAIN}") from error
    except OSError as error:
        raise ConfigError(
            f"{printable(path)} cannot be read ({error.strerror}). {AGAIN}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is no JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no object")
    return header, about.st_size - 8 - length


def _check_spans(path: Path, spans: list[tuple[int, int]], room: int) -> None:
    """The tensors follow each other without a gap to the end of the file."""
    last = 0
    for begin, end in spans:
        if begin != last:
            raise _damaged(path, "its tensors overlap, or leave a gap")
        last = end
    if last > room:
        raise _damaged(path, f"it is cut: {last - room:,} bytes of its tensors are missing")
    if last < room:
        raise _damaged(path, f"{room - last:,} bytes follow its last tensor")


def _damaged(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{printable(path)} is damaged: {what}. {AGAIN}")
