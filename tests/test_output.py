"""An output is whole or absent, the same command finishes it, and nothing else is replaced."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from whet.errors import AlreadyDone, CheckpointError, ConfigError
from whet.run.folder import DRAFT
from whet.run.output import whole_output
from whet.storage.commit import verify_folder

FACTS = {"verb": "mine", "config": {"a": (1, 2.5)}, "data": None}
FILES = {"a.txt": "a", "b/c.txt": "c", "b/d/e.txt": "e"}


def write(output: Path | str | None, facts: dict[str, Any] = FACTS, **more: str) -> Path:
    """What a command does; the folder."""
    with whole_output(None if output is None else str(output), "data_mine", facts) as made:
        assert made.draft.name == made.folder.name  # reports are titled by it
        for name, text in {**FILES, **more}.items():
            (made.draft / name).parent.mkdir(parents=True, exist_ok=True)
            (made.draft / name).write_text(text)
        assert made.final(made.draft / "b/c.txt") == made.folder / "b/c.txt"
    return made.folder


def files(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


def killed(do: Callable[[], Any], at: int) -> bool:
    """Kill -9 at the n-th rename; whether it came to that."""
    pid = os.fork()
    if pid == 0:
        real, calls = os.replace, 0

        def replace(source: Any, target: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)

        os.replace = replace  # type: ignore[assignment]
        try:
            do()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_all_files_and_their_manifest(tmp_path: Path) -> None:
    folder = write(tmp_path / "o")
    said = {name: text for name, text in files(folder).items() if name != "manifest.json"}
    assert said == FILES
    assert verify_folder(folder) == json.loads(json.dumps(FACTS))


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    for output in (None, "o", "empty"):
        with pytest.raises(RuntimeError), whole_output(output, "x", FACTS) as made:  # noqa: PT012
            (made.draft / "a").write_text("half of it")
            assert [path.name for path in made.folder.iterdir()] == [DRAFT]
            raise RuntimeError
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["empty", "runs"]


@pytest.mark.parametrize("existed", [False, True])
def test_killed_at_every_rename_the_same_command_finishes(tmp_path: Path, existed: bool) -> None:
    for at in range(1, 99):
        output = tmp_path / str(at)
        if existed:
            output.mkdir()
        died = killed(partial(write, output), at)
        with suppress(AlreadyDone):
            write(output)
        left = files(output)
        assert left.keys() == {*FILES, "manifest.json"}
        assert {name: left[name] for name in FILES} == FILES
        verify_folder(output)
        if not died:
            break
    assert at > len(FILES)


def test_killed_again_and_again(tmp_path: Path) -> None:
    """A file is gone, and the command that makes it again is killed at every rename."""
    folder = write(tmp_path / "o")
    for at in range(1, 99):
        (folder / "b/c.txt").unlink()
        died = killed(partial(write, folder, time=str(at)), at)
        with suppress(AlreadyDone):
            write(folder, time=str(at))
        left = files(folder)
        assert {name: left[name] for name in FILES} == FILES and left["time"] == str(at)
        verify_folder(folder)
        if not died:
            break
    assert at > len(FILES)


def test_a_file_of_the_users_stays_beside(tmp_path: Path) -> None:
    folder = write(tmp_path / "o")
    (folder / "mine.txt").write_text("mine")
    (folder / "a.txt").unlink()
    write(folder)
    assert files(folder)["mine.txt"] == "mine" and files(folder)["a.txt"] == "a"


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "o")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(AlreadyDone, match="holds what this command makes, whole") as told:
        write(folder)
    assert told.value.exit_code == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("other", [{"verb": "eval"}, {"config": {"a": (1, 3)}}, {"data": "x"}])
@pytest.mark.parametrize("whole", [True, False])
def test_what_another_command_made_is_refused(
    tmp_path: Path, other: dict[str, Any], whole: bool
) -> None:
    folder = write(tmp_path / "o")
    if not whole:
        (folder / "a.txt").unlink()
    before = files(folder)
    with pytest.raises(ConfigError, match=r"Choose another folder, or move it away\.$") as told:
        write(folder, {**FACTS, **other})
    assert "resume" not in str(told.value) and files(folder) == before


def test_a_file_that_somebody_changed_is_not_replaced(tmp_path: Path) -> None:
    folder = write(tmp_path / "o")
    (folder / "a.txt").write_text("b")
    (folder / "b/c.txt").unlink()
    before = files(folder)
    with pytest.raises(ConfigError, match=r"a\.txt was changed since this command wrote it"):
        write(folder)
    assert files(folder) == before


def test_a_folder_of_the_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(ConfigError, match="holds something already"):
        write(tmp_path)
    assert files(tmp_path) == {"thesis.tex": "years"}


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with whole_output(str(tmp_path / "o"), "x", FACTS) as made:
        (made.draft / "a").write_text("a")
        with pytest.raises(CheckpointError, match=f"is in use by process {os.getpid()}"):
            write(tmp_path / "o")
    assert (tmp_path / "o" / "a").read_text() == "a"
