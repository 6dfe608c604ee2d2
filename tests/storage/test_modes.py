"""Who may read what Whet writes: whom the umask says, whatever a library made of it."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from whet.config import ModelConfig
from whet.errors import ConfigError
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.run.output import whole_output
from whet.storage.commit import commit_folder, commit_together, seal

NOBODY = 65534


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


def commit(folder: Path, write: Callable[[Path], None]) -> None:
    with commit_folder(folder) as draft:
        write(draft)


def commit_with_others(folder: Path, write: Callable[[Path], None]) -> None:
    with commit_together(folder) as draft:
        write(draft)


def seal_it(folder: Path, write: Callable[[Path], None]) -> None:
    folder.mkdir()
    write(folder)
    seal(folder, {})


def put_out(folder: Path, write: Callable[[Path], None]) -> None:
    with whole_output(str(folder), "x", {}) as output:
        write(output.draft)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
@pytest.mark.parametrize("publish", [commit, commit_with_others, seal_it, put_out])
def test_every_file_of_a_folder_is_as_open_as_the_umask_says(
    tmp_path: Path, publish: Callable[[Path, Callable[[Path], None]], None], mask: int
) -> None:
    """Also where a library wrote it for its owner alone, or for everybody."""

    def write(draft: Path) -> None:
        (draft / "inner").mkdir()
        save_file({"x": torch.zeros(2)}, draft / "inner" / "weights.safetensors")
        np.save(draft / "plain.npy", np.zeros(2))
        (draft / "open").write_text("x")
        (draft / "open").chmod(0o777)

    with umask(mask):
        publish(tmp_path / "x", write)
    there = modes(tmp_path / "x")
    assert {"inner/weights.safetensors", "plain.npy", "open", "manifest.json"} <= there.keys()
    assert {name: oct(mode) for name, mode in there.items()} == {
        name: oct(0o666 & ~mask) for name in there
    }


def test_a_saved_model_is_for_others_too(tiny_model: Path, tmp_path: Path) -> None:
    """With one tower or two, and with the matrix after the pooling in a file of its own."""
    with umask(0o022):
        encoder = Encoder.load(str(tiny_model)).with_matrix(torch.eye(32))
        encoder.save(tmp_path / "one")
        Towers(Encoder.load(str(tiny_model)), encoder).save(tmp_path / "two")
    there = modes(tmp_path)
    assert sum(name.endswith(".safetensors") for name in there) >= 4
    assert set(there.values()) == {0o644}


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """One that any user may enter, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextmanager
def without_root() -> Iterator[None]:
    """As a user who may not read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("closed", "named"),
    [
        ("model.safetensors", "model.safetensors"),
        ("config.json", "config.json"),
        ("1_Pooling/config.json", "config.json"),
        ("1_Pooling", "1_Pooling"),
        ("", "model"),
    ],
)
def test_a_model_that_may_not_be_read_is_refused_as_that(
    tiny_model: Path, public_folder: Path, closed: str, named: str
) -> None:
    folder = public_folder / "model"
    shutil.copytree(tiny_model, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    Encoder.load(str(folder))  # else the lines below would say nothing
    (folder / closed).chmod(0)
    try:
        with without_root(), pytest.raises(ConfigError, match="be read") as refusal:
            Encoder.load(ModelConfig(str(folder)))
        line = str(refusal.value)
        assert named in line and "\n" not in line and "No such file" not in line
    finally:
        (folder / closed).chmod(0o755)


def test_a_model_in_a_folder_that_may_not_be_entered_is_not_looked_for_on_the_hub(
    tiny_model: Path, public_folder: Path
) -> None:
    shutil.copytree(tiny_model, public_folder / "inner" / "model")
    (public_folder / "inner").chmod(0o600)
    with without_root(), pytest.raises(ConfigError, match=r"may not be read by this user"):
        Encoder.load(str(public_folder / "inner" / "model"))
    (public_folder / "inner").chmod(0o755)
