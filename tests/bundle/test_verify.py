"""`whet verify` names the first thing that differs, whichever byte it is in."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from bundles import flip, make_bundle

import whet.version
from whet.bundle.checking import inputs
from whet.bundle.checking.verify import check_bundle, check_inputs, first_bad
from whet.bundle.provenance import read_statement, spelled
from whet.errors import CheckpointError
from whet.run.checkout import OURS, code_folder
from whet_launch.cli.main import main


def verify(capsys, *words: str) -> tuple[int, str]:
    code = main(["verify", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_whole_bundle_is_verified(bundle, place, capsys):
    code, said = verify(capsys, bundle)
    assert code == 0 and "All that is here is what provenance.json says" in said
    code, said = verify(capsys, bundle, f"data={place / 'data'}", f"model={place / 'base'}")
    assert code == 0 and "training data" in said and "base model" in said


def test_one_byte_of_any_file_is_noticed_and_named(copied):
    """Model, card, configuration, lock, negatives, logs, copies of data, base and code: all."""
    names = [p.relative_to(copied).as_posix() for p in sorted(copied.rglob("*")) if p.is_file()]
    names.remove("provenance.json")  # the next test is about it
    assert {"training/negatives/step_00000000.parquet", "code/whet/api.py"} <= set(names)
    code = [name for name in names if name.startswith("code/")]
    for name in [name for name in names if name not in code] + code[::40]:
        path = copied / name
        before = path.read_bytes()
        flip(path)
        bad = first_bad(check_bundle(copied)[1])
        path.write_bytes(before)
        assert bad is not None and (bad.name, bad.verdict) == (name, "DIFFERS")
    assert first_bad(check_bundle(copied)[1]) is None


def test_any_byte_of_the_record_is_noticed(bundle, tmp_path):
    path = tmp_path / "provenance.json"
    whole = (bundle / "provenance.json").read_bytes()
    rng = random.Random(5)
    for place in rng.sample(range(len(whole)), 150):
        path.write_bytes(whole)
        flip(path, place)
        with pytest.raises(CheckpointError, match=r"provenance\.json"):
            read_statement(tmp_path)
    path.write_bytes(whole)
    read_statement(tmp_path)


def test_a_changed_value_is_told_by_its_group(copied):
    path = copied / "provenance.json"
    statement = json.loads(path.read_text())
    statement["predicate"]["buildDefinition"]["internalParameters"]["seeds"]["seed"] = 1
    path.write_text(spelled(statement))
    with pytest.raises(CheckpointError, match="record of its hash tree is not as written"):
        read_statement(copied)


def test_a_stray_and_a_missing_file_are_named(copied, capsys):
    (copied / "extra.bin").write_text("x")
    code, said = verify(capsys, copied)
    assert code == 1 and "extra.bin" in said.splitlines()[-1] and "NOT LISTED" in said
    (copied / "extra.bin").rename(copied / ".gitattributes")  # a hub adds this one
    assert verify(capsys, copied)[0] == 0
    (copied / "training/config.yaml").unlink()
    code, said = verify(capsys, copied)
    assert code == 1 and "training/config.yaml" in said.splitlines()[-1] and "MISSING" in said


@pytest.mark.parametrize("kind", ["data", "model"])
def test_one_byte_of_any_input_is_noticed_and_named(bundle, place, tmp_path, capsys, kind):
    folder = tmp_path / "input"
    shutil.copytree(place / {"data": "data", "model": "base"}[kind], folder)
    (folder / "SOURCE.md").unlink(missing_ok=True)  # not what the model was made from
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
    for name in names:
        before = (folder / name).read_bytes()
        flip(folder / name)
        here = {"data": None, "model": None, kind: str(folder)}
        bad = first_bad(check_inputs(bundle, read_statement(bundle), **here))
        assert bad is not None and (bad.name, bad.verdict) == (name, "DIFFERS")
        if name != names[-1]:
            (folder / name).write_bytes(before)
    code, said = verify(capsys, bundle, f"{kind}={folder}")
    assert code == 1 and names[-1] in said.splitlines()[-1]


def test_one_byte_of_the_code_here_is_noticed(bundle, tmp_path, monkeypatch, capsys):
    roots = {}
    for package in OURS:
        ignore = shutil.ignore_patterns("__pycache__")
        roots[package] = Path(
            shutil.copytree(code_folder(package), tmp_path / package, ignore=ignore)
        )
    monkeypatch.setattr(inputs, "code_folder", roots.__getitem__)
    assert verify(capsys, bundle)[0] == 0
    flip(roots["whet"] / "training/module.py")
    code, said = verify(capsys, bundle)
    assert code == 1 and "whet/training/module.py (code installed here): DIFFERS" in said


def test_code_of_another_version_or_commit_is_not_compared(bundle, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(whet.version, "VERSION", "9.9")
        code, said = verify(capsys, bundle)
    assert code == 0 and "Not here, so not checked: code installed here" in said
    monkeypatch.setattr(inputs, "commit_here", lambda: "0" * 40)
    code, said = verify(capsys, bundle)
    assert code == 0 and "Not here, so not checked: code installed here" in said


def test_what_is_not_here_is_not_checked(run, tmp_path, capsys):
    folder, _, _ = make_bundle(run, tmp_path / "b")
    code, said = verify(capsys, folder)
    assert code == 0
    assert "Not here, so not checked: training data, base model." in said
    statement = json.loads((folder / "provenance.json").read_text())
    assert first_bad(check_inputs(folder, statement, data=None, model=None)) is None


def test_data_elsewhere_are_an_error_of_their_own(bundle, capsys):
    code, said = verify(capsys, bundle, "data=/no/such/folder")
    assert code == 3 and "no such file or folder" in said


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not here")
def test_the_record_can_be_signed(copied, tmp_path, capsys):
    """The commands of docs/bundles.md."""
    key, record = tmp_path / "key", copied / "provenance.json"

    def ssh(*words, feed=None):
        return subprocess.run(["ssh-keygen", *map(str, words)], stdin=feed, capture_output=True)

    ssh("-q", "-t", "ed25519", "-N", "", "-f", key)
    assert ssh("-Y", "sign", "-f", key, "-n", "whet", record).returncode == 0
    code, said = verify(capsys, copied)
    assert code == 0 and "provenance.json.sig is there" in said
    signers = tmp_path / "signers"
    signers.write_text(f"me@example.org {key.with_suffix('.pub').read_text()}")
    words = ["-Y", "verify", "-f", signers, "-I", "me@example.org", "-n", "whet", "-s"]
    with record.open("rb") as feed:
        assert ssh(*words, f"{record}.sig", feed=feed).returncode == 0
    flip(record)
    with record.open("rb") as feed:
        assert ssh(*words, f"{record}.sig", feed=feed).returncode != 0
