"""Whatever a command writes to, a full disk is told in a line: the file, and the command again."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from whet_faults import mounted

from whet.encoding.table import room_for
from whet.errors import ConfigError
from whet.storage.commit import commit_folder, write_atomically
from whet.storage.disk import disk_errors_name, full_places, is_full, mount_of, of_disk
from whet.storage.lock import locked
from whet.training.strategies.saving import InPlace
from whet_launch.cli.main import exit_code_of, main


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KB."""
    with mounted(tmp_path / "disk", "size=256k"):
        yield tmp_path / "disk"


def fill(disk: Path, left: int = 0) -> None:
    """To the last byte, but for some."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            file.truncate(file.tell() - left)


WRITERS: dict[str, Callable[[Path], None]] = {
    "atomically": lambda folder: write_atomically(folder / "x", bytes(9999)),
    "a checkpoint": lambda folder: InPlace().save_checkpoint(
        {"a": torch.zeros(9999)}, folder / "x"
    ),
}


def in_folder(write: Callable[[Path], object]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        with commit_folder(folder / "x") as draft:
            write(draft)

    return do


WRITERS["numpy, in a folder"] = in_folder(lambda draft: np.save(draft / "a.npy", np.zeros(9999)))
WRITERS["torch, in a folder"] = in_folder(
    lambda draft: torch.save({"a": torch.zeros(9999)}, draft / "a.pt")
)


@pytest.mark.parametrize("writer", WRITERS)
def test_the_error_names_the_file(disk: Path, writer: str) -> None:
    fill(disk, 4096)
    with pytest.raises(OSError, match="No space left") as told:
        WRITERS[writer](disk)
    assert told.value.errno == errno.ENOSPC
    assert str(told.value.filename).startswith(f"{disk}/x")
    assert not any(path.name.startswith(".x") for path in disk.iterdir())  # no half of it


def test_errors_of_another_kind_are_left_alone(tmp_path: Path) -> None:
    for error in (OSError(errno.EACCES, "no"), RuntimeError("no"), ConfigError("no")):
        with pytest.raises(type(error)) as told, disk_errors_name(tmp_path):
            raise error
        assert told.value is error and getattr(error, "filename", None) is None


def test_what_is_said_of_an_error(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHET_CACHE", str(disk / "not/there/yet"))
    unnamed = OSError(errno.ENOSPC, "x")
    assert full_places() == [] and not is_full(disk) and not is_full("/proc")
    assert of_disk(unnamed) == "No space left on device"
    fill(disk)
    assert is_full(disk / "not/there/yet") and mount_of(disk / "not/there/yet") == str(disk)
    full = f"No space left on device ({disk} is full)"
    assert of_disk(unnamed) == f"{disk}/not/there/yet: {full}"
    copied = OSError(errno.ENOSPC, "x", "/tmp/from", None, str(disk / "to"))
    assert of_disk(copied) == f"{disk}/to: {full}"
    quota = OSError(errno.EDQUOT, "x", "/a/b")
    assert of_disk(quota) == "/a/b: Disk quota exceeded"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_the_command_is_said(capsys: pytest.CaptureFixture[str], number: int) -> None:
    def fail() -> int:
        raise OSError(number, "x", "/a/b")

    assert exit_code_of(fail, "whet mine 'data=a b'") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"whet: /a/b: {os.strerror(number)}")
    assert line.endswith(", then give again: whet mine 'data=a b'")


VERBS = {
    "fit": ["select=last", "trainer.max_steps=2", "trainer.batch_size=8"],
    "mine": [],
    "encode": [],
    "eval": [],
}


@pytest.mark.parametrize("left", [0, 12_288])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_whose_output_is_on_a_full_disk(
    verb: str,
    left: int,
    disk: Path,
    tiny_data: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(disk, left)
    words = [verb, f"data={tiny_data}", f"model={tiny_model}", f"output={disk}/o", *VERBS[verb]]
    assert main(words) == 1
    errors = capsys.readouterr().err
    line = next(line for line in errors.splitlines() if line.startswith("whet: "))
    assert f"{disk}/o" in line and "No space left on device" in line, line
    again = f"give again: whet {verb} data={tiny_data}", f"go on with: whet fit resume={disk}/o"
    assert any(words in line for words in again), line
    assert "Traceback" not in errors
    (disk / "filler").unlink()
    if verb != "fit":
        assert main(words) == 0


@pytest.mark.parametrize("left", [0, 12_288])
def test_a_cache_on_a_full_disk(
    left: int,
    disk: Path,
    tiny_data: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WHET_CACHE", str(disk / "cache"))
    fill(disk, left)
    words = ["encode", f"data={tiny_data}", f"model={tiny_model}", f"output={tmp_path}/o"]
    assert main(words) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("whet: ")]
    assert f"{disk}/cache" in line and "give again: whet encode" in line, line
    assert not (tmp_path / "o").exists()


def test_vectors_that_do_not_fit_are_an_error_at_once(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map of a file with holes would end the process with SIGBUS when a page finds no room."""
    monkeypatch.setattr("whet.encoding.table.MEMORY_BYTES", 0)
    assert room_for(100, 16, disk).shape == (100, 16)
    with pytest.raises(OSError, match="No space left") as told:
        room_for(9999, 16, disk)
    assert told.value.filename == str(disk)


def test_a_lock_that_does_not_fit(disk: Path) -> None:
    (disk / ".lock").touch()
    fill(disk)
    with pytest.raises(OSError, match="No space left") as told, locked(disk):
        pass
    assert told.value.filename == str(disk / ".lock")


def test_an_output_that_takes_nothing() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "whet_launch", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr and "whet --version" in done.stderr
