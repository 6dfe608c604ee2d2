"""Signed bundles: by us and by the package's own command, each checked by the other."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import flip, forge, make_bundle

from whet.bundle import signing
from whet.bundle.signing import PASSWORD, signer_of
from whet.errors import ConfigError, EnvironmentRefused
from whet_launch.cli.main import main

pytest.importorskip("model_signing")


def write_key(folder: Path, name: str, kind: str = "SECP256R1", password: bytes | None = None):
    """A key file and its public half, NAME.pem and NAME.pub."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    if kind != "ED25519":
        key = ec.generate_private_key(getattr(ec, kind)())
    sealed = serialization.NoEncryption()
    if password is not None:
        sealed = serialization.BestAvailableEncryption(password)
    pem, shape = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{name}.pem").write_bytes(key.private_bytes(pem, shape, sealed))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(pem, public))


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """A folder with our key and another's."""
    folder = tmp_path_factory.mktemp("keys")
    write_key(folder, "ours")
    write_key(folder, "theirs", "SECP384R1")
    return folder


@pytest.fixture(scope="module")
def ours(run, keys, tmp_path_factory) -> Path:
    """A bundle that we signed."""
    folder = tmp_path_factory.mktemp("signed") / "bundle"
    make_bundle(run, folder, include=["data", "base"], sign=str(keys / "ours.pem"))
    return folder


@pytest.fixture
def signed(ours, tmp_path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(ours, tmp_path / "other_name"))


def verify(folder, key, capsys) -> tuple[int, str]:
    code = main(["verify", str(folder), f"key={key}"])
    said = capsys.readouterr()
    return code, (said.out + said.err).splitlines()[-1]


def own_tool(*words) -> int:
    """The command of the package model-signing."""
    command = [sys.executable, "-m", "model_signing", *map(str, words)]
    return subprocess.run(command, capture_output=True, timeout=120).returncode


def test_a_signed_bundle_is_verified_by_us_and_by_the_package(signed, keys, capsys):
    for name in (".gitattributes", ".cache/x", "provenance.json.sig"):  # added after it was signed
        (signed / name).parent.mkdir(exist_ok=True)
        (signed / name).write_text("x")
    code, said = verify(signed, keys / "ours.pub", capsys)
    assert code == 0 and said.startswith("Signed: model.sig holds for") and "every file" in said
    signature = ["verify", "key", signed, "--signature", signed / "model.sig", "--public_key"]
    assert own_tool(*signature, keys / "ours.pub") == 0
    assert own_tool(*signature, keys / "theirs.pub") != 0
    assert main(["verify", str(signed)]) == 0
    assert "model.sig is there, and not checked" in capsys.readouterr().out


def test_the_packages_signature_is_verified_by_us(lean, keys, tmp_path, capsys):
    folder = Path(shutil.copytree(lean, tmp_path / "b"))
    place = ["--signature", folder / "model.sig"]
    assert own_tool("sign", "key", folder, *place, "--private_key", keys / "theirs.pem") == 0
    assert verify(folder, keys / "theirs.pub", capsys)[0] == 0
    assert verify(folder, keys / "ours.pub", capsys)[0] == 1


def test_another_key_is_told(signed, keys, capsys):
    code, said = verify(signed, keys / "theirs.pub", capsys)
    assert code == 1 and "did not sign this bundle as it is" in said


def test_a_bundle_forged_after_it_was_signed_is_told(signed, keys, capsys):
    """Its hashes fit, and the signature does not."""
    (signed / "README.md").write_text("other words")
    forge(signed)
    assert main(["verify", str(signed)]) == 0
    capsys.readouterr()
    code, said = verify(signed, keys / "ours.pub", capsys)
    assert code == 1 and "README.md" in said


def test_an_unsigned_bundle_is_told(lean, keys, capsys):
    code, said = verify(lean, keys / "ours.pub", capsys)
    assert code == 1 and "is not signed: model.sig is missing" in said


def test_a_signature_that_leaves_the_record_out_says_nothing(lean, keys, tmp_path, capsys):
    folder = Path(shutil.copytree(lean, tmp_path / "b"))
    left_out = ["--ignore-paths", folder / "provenance.json"]
    words = ["--signature", folder / "model.sig", "--private_key", keys / "ours.pem"]
    assert own_tool("sign", "key", folder, *words, *left_out) == 0
    code, said = verify(folder, keys / "ours.pub", capsys)
    assert code == 1 and "leaves provenance.json out" in said


@pytest.mark.parametrize("forgery", ["", "{}", "[]", "[" * 100_000, '{"verificationMaterial": 5}'])
def test_a_signature_that_is_none_is_refused_in_a_line(signed, keys, capsys, forgery):
    (signed / "model.sig").write_text(forgery)
    code, said = verify(signed, keys / "ours.pub", capsys)
    assert code == 1 and "model.sig" in said


def test_any_changed_byte_of_what_is_signed_is_noticed(signed, keys, capsys):
    path = signed / "model.sig"
    whole = json.loads(path.read_text())
    payload = bytearray(base64.b64decode(whole["dsseEnvelope"]["payload"]))
    payload[len(payload) // 2] ^= 1
    whole["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    path.write_text(json.dumps(whole))
    assert verify(signed, keys / "ours.pub", capsys)[0] == 1
    flip(path, 10)
    assert verify(signed, keys / "ours.pub", capsys)[0] == 1


def test_keys_that_cannot_sign_are_refused_before_any_work(run, keys, tmp_path, monkeypatch):
    write_key(keys, "edwards", "ED25519")
    write_key(keys, "bitcoin", "SECP256K1")
    write_key(keys, "sealed", password=b"open sesame")
    (keys / "noise.pem").write_text("x")
    os.mkfifo(tmp_path / "pipe.pem")
    names = ["edwards.pem", "bitcoin.pem", "sealed.pem", "noise.pem", "none.pem", "ours.pub"]
    for path in [*(keys / name for name in names), tmp_path / "pipe.pem"]:
        with pytest.raises(ConfigError, match=path.name) as refused:
            make_bundle(run, tmp_path / "b", sign=str(path))
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "b").exists()
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(ConfigError, match="Incorrect password"):
        signer_of(str(keys / "sealed.pem"))
    monkeypatch.setenv(PASSWORD, "open sesame")
    assert signer_of(str(keys / "sealed.pem"))


def test_keys_that_cannot_verify_are_refused(signed, keys, capsys):
    for name in ("ours.pem", "none.pub"):
        code, said = verify(signed, keys / name, capsys)
        assert code == 2 and name in said


def test_without_the_package_it_says_what_to_install(lean, keys, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(EnvironmentRefused, match=r'pip install "whet-search\[sign\]"'):
        signing.signer_of(str(keys / "ours.pem"))
    assert verify(lean, keys / "ours.pub", capsys)[0] == 4
