"""The cache of converted tables: keyed by content, whole or absent, safe with two processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from whet.data import load_dataset
from whet.errors import EnvironmentRefused

LOAD = "import sys; from whet.data import load_dataset; print(load_dataset(sys.argv[1]).digest)"


def folders(cache: Path) -> list[Path]:
    return sorted((cache / "data").iterdir())


def test_a_second_load_reads_the_tables_not_the_rows(beir: Any, tmp_path: Path) -> None:
    root = beir()
    first = load_dataset(str(root), cache_dir=tmp_path / "cache")
    stamp = first.corpus.path.stat().st_mtime_ns
    again = load_dataset(str(root), cache_dir=tmp_path / "cache")
    assert again.corpus.path.stat().st_mtime_ns == stamp
    assert again.digest == first.digest
    assert len(folders(tmp_path / "cache")) == 1


def test_changed_bytes_are_read_anew(beir: Any, tmp_path: Path) -> None:
    root = beir()
    first = load_dataset(str(root), cache_dir=tmp_path / "cache")
    before = os.stat(root / "corpus.jsonl")
    (root / "corpus.jsonl").write_bytes((root / "corpus.jsonl").read_bytes().replace(b"sl", b"SL"))
    os.utime(root / "corpus.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
    again = load_dataset(str(root), cache_dir=tmp_path / "cache")
    assert again.corpus.text(2) == "cats SLeep"
    assert again.digest != first.digest


def test_a_moved_folder_is_the_same_data(beir: Any, tmp_path: Path) -> None:
    root = beir()
    first = load_dataset(str(root), cache_dir=tmp_path / "cache")
    moved = shutil.copytree(root, tmp_path / "other")
    again = load_dataset(str(moved), cache_dir=tmp_path / "cache")
    assert (again.corpus.path, again.name) == (first.corpus.path, "other")


@pytest.mark.parametrize("name", ["corpus.arrow", "manifest.json", "queries.rows.npy"])
def test_a_torn_folder_is_built_again(beir: Any, tmp_path: Path, name: str) -> None:
    root = beir()
    folder = load_dataset(str(root), cache_dir=tmp_path / "cache").corpus.path.parent
    (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    assert len(load_dataset(str(root), cache_dir=tmp_path / "cache").corpus) == 3


def big_folder(beir: Any, rows: int) -> Path:
    corpus = b"".join(b'{"_id": "d%d", "text": "text %d"}\n' % (n, n) for n in range(rows))
    return beir({"corpus.jsonl": corpus})


def start(root: Path, cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "WHET_CACHE": str(cache)}
    command = [sys.executable, "-c", LOAD, str(root)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_two_processes_build_the_same_tables_at_once(beir: Any, tmp_path: Path) -> None:
    root, cache = big_folder(beir, 20_000), tmp_path / "cache"
    processes = [start(root, cache) for _ in range(2)]
    digests = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert digests == {load_dataset(str(root), cache_dir=tmp_path / "alone").digest + "\n"}
    assert len(folders(cache)) == 1


def test_a_killed_build_leaves_nothing_that_is_trusted(beir: Any, tmp_path: Path) -> None:
    root, cache = big_folder(beir, 200_000), tmp_path / "cache"
    process = start(root, cache)
    deadline = time.monotonic() + 60
    while not list(cache.glob("data/.part-*/spool/corpus.arrow")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert process.stdout is not None
    assert process.stdout.read() == ""  # it was killed before it had finished
    process.stdout.close()
    (part,) = folders(cache)
    assert part.name.startswith(".part-")
    os.utime(part, (0, 0))  # as if from last week
    (root / "corpus.jsonl").write_bytes(b'{"_id": "d%d", "text": "t"}\n' % 1)
    load_dataset(str(root), on_problem="drop", cache_dir=cache)
    assert [folder.name.startswith(".part-") for folder in folders(cache)] == [False]


def test_a_cache_that_cannot_be_written_names_the_remedy(beir: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentRefused, match="Set WHET_CACHE to a folder that can be written"):
        load_dataset(str(beir()), cache_dir=tmp_path / "file")
