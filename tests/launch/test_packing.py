"""What is sent to a cluster: the files git would take, no secrets, not too much."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from whet.config import FitConfig
from whet.errors import ConfigError
from whet_launch import packing
from whet_launch.packing import files_of, pack
from whet_launch.words import refuse_secrets, words_of


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


@pytest.mark.parametrize("repository", [True, False])
def test_ignored_files_and_secrets_stay_here(tmp_path: Path, repository: bool) -> None:
    write(tmp_path, "a.py", "data/corpus.jsonl", "runs/1/model", "big.bin", "sub/b.py", "sub/c.tmp")
    write(tmp_path, ".env", "sub/.env.local", "tls.key", ".netrc", "a name with spaces é.txt")
    (tmp_path / ".gitignore").write_text("/runs/\n")
    (tmp_path / ".rayignore").write_text("*.bin\n")
    (tmp_path / "sub" / ".gitignore").write_text("*.tmp\n")
    (tmp_path / "out").symlink_to("/etc/hostname")
    if repository:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
        subprocess.run(["git", "add", "a.py"], cwd=tmp_path, check=True)
    assert files_of(tmp_path) == [
        ".gitignore",
        ".rayignore",
        "a name with spaces é.txt",
        "a.py",
        "data/corpus.jsonl",
        "sub/.gitignore",
        "sub/b.py",
    ]


def test_equal_folders_give_equal_zips_that_keep_modes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path, f"{name}/run.sh", f"{name}/x/y.txt")
        (tmp_path / name / "run.sh").write_text("#!/bin/sh\n")
        (tmp_path / name / "x/y.txt").write_text("y")
        (tmp_path / name / "run.sh").chmod(0o755)
        os.utime(tmp_path / name / "run.sh", (len(name), 7))
        pack(tmp_path / name, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["run.sh", "x/y.txt"]
        assert archive.getinfo("run.sh").external_attr >> 16 & 0o777 == 0o755


def test_too_much_is_refused_with_the_biggest_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MOST_BYTES", 100)
    write(tmp_path, "small.py")
    for size, name in ((90, "b.bin"), (99, "a.bin"), (50, "c.bin"), (10, "d.bin")):
        (tmp_path / name).write_bytes(bytes(size))
    with pytest.raises(ConfigError, match=r"a\.bin.*b\.bin.*c\.bin.*Name them in \.rayignore"):
        pack(tmp_path, tmp_path / "work.zip")
    assert not (tmp_path / "work.zip").exists()


def test_words_give_back_the_configuration(calls, whet, tmp_path: Path) -> None:
    config = FitConfig(seed=3, output="/runs/it's a b")
    config.data.path = "my data, 'here'"
    config.model.query_prompt = "null"
    config.model.max_length = 12
    config.mining.relative_margin = None
    config.loss.symmetric = True
    config.evaluate.measures = ["nDCG@10", "R@100"]
    config.trainer.learning_rate = 3e-5
    assert whet("fit", *words_of(config, {})) == (0, "", "")
    assert calls == [config]


def test_a_secret_never_becomes_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "hf_0123456789")
    refuse_secrets(["data=my/data", "seed=1"])
    with pytest.raises(ConfigError, match=r"model.name holds the value of \$MY_API_TOKEN") as told:
        refuse_secrets(["model.name=https://x:hf_0123456789@host/m"])
    assert "hf_0123456789" not in str(told.value)
