"""The cache of converted tables: keyed by content, whole or absent, safe with two processes."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whet.data.load import Dataset, load_dataset
from whet.errors import EnvironmentRefused
from whet.storage.commit import verify_folder

LOAD = (
    "import sys; from whet.data.load import load_dataset; print(load_dataset(sys.argv[1]).digest)"
)


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


def content(data: Dataset) -> tuple[object, ...]:
    """All that anybody reads from the tables, the id index and the judgments."""
    told: list[object] = [data.digest, data.kind, data.findings.to_dict()]
    for table in (data.corpus, data.queries):
        ids = list(table.ids)
        told += [ids, table.texts(np.arange(len(table))), table.digest]
        told += [table.rows_of(ids).tolist(), table.group_of_N().tolist()]
    for name, qrels in data.splits.items():
        columns = (qrels.query_rows_M, qrels.doc_rows_M, qrels.relevance_M)
        told += [name, *(column.tolist() for column in columns)]
    return tuple(told)


NIGHTLY = [pytest.mark.slow, pytest.mark.nightly]


@pytest.mark.parametrize("flips", [60, pytest.param(1_000, marks=NIGHTLY)])
def test_every_flipped_bit_is_noticed_told_and_mended(
    beir: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], flips: int
) -> None:
    root, cache = str(beir()), tmp_path / "cache"
    first = load_dataset(root, cache_dir=cache)
    before, folder = content(first), first.corpus.path.parent
    names = sorted(path.name for path in folder.iterdir())
    assert {"corpus.arrow", "corpus.groups.npy", "split-0.npy", "manifest.json"} <= set(names)
    chance = random.Random(5)
    for number in range(flips):
        path = folder / names[number % len(names)]
        flipped = bytearray(path.read_bytes())
        at = chance.randrange(8 * len(flipped))
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        assert content(load_dataset(root, cache_dir=cache)) == before, f"bit {at} of {path.name}"
        told = capsys.readouterr().err
        assert str(path.parent) in told and told.endswith(f"It is read again from {root}.\n")
        assert f"{path} is damaged" in told or path.name == "manifest.json", told
    verify_folder(folder)
    assert content(load_dataset(root, cache_dir=cache)) == before
    assert capsys.readouterr().err == ""


def test_processes_that_mend_a_damaged_folder_at_once_agree(beir: Any, tmp_path: Path) -> None:
    root, cache = big_folder(beir, 20_000), tmp_path / "cache"
    data = load_dataset(str(root), cache_dir=cache)
    path = data.corpus.path
    flip(path)
    processes = [start(root, cache) for _ in range(3)]
    digests = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert digests == {data.digest + "\n"}
    assert folders(cache) == [path.parent]
    verify_folder(path.parent)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_damaged_folder_goes_when_the_new_one_stands(
    beir: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = str(beir()), tmp_path / "cache"
    data = load_dataset(root, cache_dir=cache)
    folder, removed = data.corpus.path.parent, []
    flip(folder / "queries.rows.npy")
    remove = shutil.rmtree

    def watched(path: Path, **how: Any) -> None:
        removed.append(path)
        if (path / "corpus.arrow").exists():  # what was damaged, whole but for its bit
            verify_folder(folder)
        remove(path, **how)

    monkeypatch.setattr(shutil, "rmtree", watched)
    load_dataset(root, cache_dir=cache)
    assert [path.name for path in removed if path.name.endswith(".damaged")]
    assert folder not in removed
    assert data.corpus.texts([0, 2]) == ["Ants live in hills", "cats sleep"]  # still mapped


def test_one_process_at_a_time_replaces_a_folder(beir: Any, tmp_path: Path) -> None:
    root, cache = str(beir()), tmp_path / "cache"
    flip(load_dataset(root, cache_dir=cache).corpus.path)
    mending = threading.Thread(target=load_dataset, args=(root,), kwargs={"cache_dir": cache})
    handle = os.open(cache / ".data.lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        mending.start()
        mending.join(2)
        assert mending.is_alive()
    finally:
        os.close(handle)
        mending.join(60)
    assert not mending.is_alive()


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
