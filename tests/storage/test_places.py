"""Where things are kept and written, for users without a home and folders that are not theirs."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

import pytest

import whet
from whet.errors import DataError, EnvironmentRefused
from whet.run.folder import dated, new_folder
from whet.storage.places import cache_folder, make_folder, user_path
from whet_launch.cli.main import main


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user: no HOME, and no entry in /etc/passwd."""

    def none(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("WHET_CACHE", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", none)


def test_a_cache_needs_a_home_or_a_name(homeless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentRefused, match="Set WHET_CACHE"):
        cache_folder()
    monkeypatch.setenv("WHET_CACHE", "/some/where")
    assert cache_folder() == Path("/some/where")


def test_a_user_without_a_home_is_told_what_to_set(
    homeless: None, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("check", "eval", "fit", "label"):
        words = ["open_browser=false"] if verb == "label" else []
        assert main([verb, str(tiny_data), *words]) == 4
        assert "Set WHET_CACHE to a folder that can be written" in capsys.readouterr().err
    assert main(["check", "~/data"]) == 3
    assert "~/data: no such file or folder" in capsys.readouterr().err


def test_a_home_that_is_not_here_is_a_name_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert user_path("~nosuchuser/data") == Path("~nosuchuser/data")
    for words in (["~nosuchuser/data"], ["data=~nosuchuser/data"], ["data.path=~nosuchuser/data"]):
        assert main(["check", *words]) == 3
        assert capsys.readouterr().err.startswith("whet: ~nosuchuser/data: no such file or folder")
    with pytest.raises(EnvironmentRefused, match=r"no such home here. Write ./~nosuchuser/run"):
        new_folder("~nosuchuser/run", "data")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "~nosuchuser").mkdir()
    assert new_folder("~nosuchuser/run", "data").is_dir()


def test_a_home_is_known_from_python_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").touch()
    with pytest.raises(whet.ConfigError, match="holds something already"):
        whet.fit("no matter", output="~/run")
    with pytest.raises(DataError, match="no such file or folder"):
        whet.fit("~/data")


def test_a_place_that_cannot_be_written_says_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").write_text("a file")
    monkeypatch.chdir(tmp_path)
    for output in (None, "runs/mine"):
        with pytest.raises(EnvironmentRefused, match=r"runs: is no folder. Say where .* output="):
            new_folder(output, "data")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(EnvironmentRefused, match=r"may not be written to. Say where .* output="):
        make_folder(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


def test_the_folder_of_what_was_made_from_a_run_has_one_date() -> None:
    first = dated("docs")
    assert re.fullmatch(r"\d{4}(-\d\d){2}_\d\d(-\d\d){2}_docs", first)
    assert re.fullmatch(r"\d{4}(-\d\d){2}_\d\d(-\d\d){2}_docs_export", dated(f"{first}_export"))
    assert dated("2026-11-29_plan").endswith("_2026-11-29_plan")  # a name of its own
