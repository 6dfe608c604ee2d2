"""What strangers and bad disks do to files: each mutation is a function of a seed, so that one that
fails comes again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x" * 10_000,
    "\0",
    "\x1b[2J\u202e",
    "../../outside",
    "/etc/hostname",
    "${oc.env:HOME}",
    "\ud800",
    [],
    {},
    [[[]]],
    {"a": {"b": 1}},
)
MOST_CHANGES = 3  # of one input


def mutated_value(rng: Random, value: Any) -> Any:
    """A copy of plain values in which one to three places are otherwise."""
    copy = json.loads(json.dumps(value))
    for _ in range(rng.randint(1, MOST_CHANGES)):
        copy = _changed(rng, copy)
    return copy


def _changed(rng: Random, value: Any) -> Any:
    """Descend to a random place, more often deep than not, and change what is there."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        value[key] = _changed(rng, value[key])
        return value
    return rng.choice((_strange, _wrapped, _thinned, _renamed))(rng, value)


def _strange(rng: Random, value: Any) -> Any:
    return deepcopy(rng.choice(STRANGE))  # it may be changed in turn


def _wrapped(rng: Random, value: Any) -> Any:
    return rng.choice(([value], {"value": value}, str(value)))


def _thinned(rng: Random, value: Any) -> Any:
    """Without one of its parts, or with one twice."""
    if isinstance(value, dict) and value:
        value.pop(rng.choice(list(value)))
        return value
    if isinstance(value, list) and value:
        place = rng.randrange(len(value))
        return value[:place] + value[place + rng.choice((1, -1)) :]
    return _strange(rng, value)


def _renamed(rng: Random, value: Any) -> Any:
    if isinstance(value, dict) and value:
        value[str(rng.choice(STRANGE[9:16]))] = value.pop(rng.choice(list(value)))
        return value
    return _strange(rng, value)


def mutated_bytes(rng: Random, content: bytes) -> bytes:
    """Bytes with a bit flipped, a part gone, doubled, zeroed or strange."""
    place = rng.randrange(len(content) + 1)
    length = rng.choice((1, 8, 100, len(content)))
    part = content[place : place + length]
    choices: tuple[Callable[[], bytes], ...] = (
        lambda: flipped(rng, content),
        lambda: content[:place],
        lambda: content[:place] + content[place + length :],
        lambda: content[:place] + part + content[place:],
        lambda: content[:place] + bytes(len(part)) + content[place + length :],
        lambda: content[:place] + rng.randbytes(min(length, 100)) + content[place:],
        lambda: b"",
        lambda: b"[" * 100_000,
    )
    return rng.choice(choices)()


def flipped(rng: Random, content: bytes) -> bytes:
    """Bytes with one bit flipped."""
    if not content:
        return b"\0"
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def mutate_folder(rng: Random, folder: Path, outside: Path) -> str:
    """Change one file below a folder; says what was done. `outside` is a file that is not to be
    read, to which links lead.
    """
    path = rng.choice(files_of(folder))
    name = path.relative_to(folder).as_posix()
    kind = rng.choice(("bytes", "bytes", "bytes", "value", "value", "value", "file"))
    content = path.read_bytes()
    if kind == "value" and path.suffix == ".json":
        value = mutated_value(rng, json.loads(content))
        path.write_text(json.dumps(value))
    elif kind == "file":
        kind = _replace(rng, path, outside)
    else:
        kind = "bytes"
        path.write_bytes(mutated_bytes(rng, content))
    return f"{name}: {kind}"


def _replace(rng: Random, path: Path, outside: Path) -> str:
    """Put something that is no such file in a file's place."""
    path.unlink()
    kind = rng.choice(("gone", "fifo", "folder", "link", "loop", "linked folder"))
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(outside)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "linked folder":
        path.symlink_to(outside.parent, target_is_directory=True)
    return kind


def fresh_copy(source: Path, target: Path) -> Path:
    """A folder as it was before anybody changed it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target
