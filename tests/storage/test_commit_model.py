"""The commit protocol: any change is refused, a write that fails leaves what was there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whet.errors import CheckpointError, WhetError
from whet.storage.checkpoints import keep_newest
from whet.storage.commit import commit_folder, seal, verify_folder, whole_folder, write_atomically
from whet.storage.disk import disk_errors_name, is_full, mount_of, of_disk, remedy
from whet.storage.lock import in_use, locked

NAMES = st.text("abc.", min_size=1, max_size=4).filter(lambda name: name.strip("."))
FILES = st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=4)
often = settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@often
@given(FILES, st.dictionaries(st.text(max_size=5), st.integers()), st.data())
def test_a_byte_of_any_file_or_of_the_manifest_is_missed(
    tmp_path: Path, files: dict[str, bytes], facts: dict[str, int], data: st.DataObject
) -> None:
    """Changed, added, cut off or the whole file gone; and what is put back is whole again."""
    with commit_folder(tmp_path / "x", facts) as draft:
        for name, content in files.items():
            (draft / "in").mkdir(exist_ok=True)
            (draft / "in" / name).write_bytes(content)
    assert verify_folder(tmp_path / "x") == facts
    name = data.draw(st.sampled_from([f"in/{name}" for name in files]))
    for path in (tmp_path / "x" / name, tmp_path / "x" / "manifest.json"):
        content = path.read_bytes()
        others = [content + b"x", content[:-1] if content else b"y", None]
        bits = st.integers(0, max(0, 8 * len(content) - 1))
        for bit in data.draw(st.lists(bits, min_size=8, max_size=8)) if content else []:
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            others.append(bytes(changed))
        for other in others:
            path.unlink(missing_ok=True)
            if other is not None:
                path.write_bytes(other)
            with pytest.raises(CheckpointError, match=r"is damaged|is missing|no readable"):
                verify_folder(tmp_path / "x")
        path.write_bytes(content)
    assert verify_folder(tmp_path / "x") == facts


def test_a_commit_takes_the_place_of_the_one_before_and_of_a_killed_draft(tmp_path: Path) -> None:
    (tmp_path / "x.tmp").mkdir()
    (tmp_path / "x.tmp" / "left").write_text("of a killed job")
    for number in (1, 2):
        with commit_folder(tmp_path / "x", {"number": number}) as draft:
            assert list(draft.iterdir()) == []
            (draft / str(number)).write_text("")
        assert verify_folder(tmp_path / "x") == {"number": number}
        assert {path.name for path in (tmp_path / "x").iterdir()} == {str(number), "manifest.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_folder_with_a_record_of_its_own_is_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "x") as draft:  # noqa: PT012
        (draft / "half").write_text("")
        raise RuntimeError
    assert not (tmp_path / "x").exists()
    with whole_folder(tmp_path / "x") as draft:
        (draft / "whole").write_text("")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["whole"]
    seal(tmp_path / "x", {"by": "hand"})
    assert verify_folder(tmp_path / "x") == {"by": "hand"}


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """And no half of a new one, which would keep a full disk full."""
    path = tmp_path / "file"
    write_atomically(path, "before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "after")
    monkeypatch.undo()
    assert [one.name for one in tmp_path.iterdir()] == ["file"] and path.read_text() == "before"
    write_atomically(path, b"after")
    assert path.read_bytes() == b"after"


def test_a_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "private", "x", private=True)
        write_atomically(tmp_path / "plain", "x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("private", "plain")]
    assert modes == [0o600, 0o644]


@given(st.sets(st.integers(0, 10**7), min_size=1, max_size=6), st.integers(1, 4))
@settings(deadline=None, max_examples=10)
def test_the_newest_checkpoints_are_kept(
    tmp_path_factory: pytest.TempPathFactory, steps: set[int], count: int
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    for step in steps:
        (folder / f"step_{step:08d}").mkdir()
    (folder / "step_99999999.tmp").mkdir()
    keep_newest(folder, count)
    kept = [f"step_{step:08d}" for step in sorted(steps)[-count:]]
    assert sorted(path.name for path in folder.iterdir()) == [*kept, "step_99999999.tmp"]


def test_a_folder_is_in_use_while_it_is_held(tmp_path: Path) -> None:
    assert not in_use(tmp_path)
    with locked(tmp_path) as file:
        assert in_use(tmp_path)
        file.seek(0)
        assert file.read() == str(os.getpid()).encode()
    assert not in_use(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_an_error_of_the_disk_says_where_and_what_to_do(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError, match="the system") as caught, disk_errors_name(tmp_path / "x"):
        raise OSError(number, "what the system says")
    assert caught.value.filename == str(tmp_path / "x")
    assert of_disk(caught.value) == f"{tmp_path / 'x'}: {os.strerror(number)}"
    assert remedy(caught.value)[0].isupper()
    with pytest.raises(OSError, match="already") as other, disk_errors_name("/y"):
        raise OSError(number, "named already", "/z")
    assert other.value.filename == "/z"


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    for error in (OSError(errno.ENOENT, "none"), WhetError("ours"), ValueError("x")):
        with pytest.raises(type(error)) as caught, disk_errors_name(tmp_path):
            raise error
        assert caught.value is error and getattr(error, "filename", None) is None
    assert not is_full(tmp_path / "not" / "there") and not is_full("/proc/x")
    assert Path(mount_of(tmp_path / "not" / "there")).is_mount()
