"""Checkpoints go straight to where they belong."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch

from whet.training.strategies.saving import InPlace

STATE = {"state_dict": {"w": torch.arange(12.0)}, "step": 3, "names": ["a"]}


def test_no_temporary_file_and_the_same_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    InPlace().save_checkpoint(STATE, tmp_path / "é.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["é.ckpt"]
    for mmap in (True, False):
        found = torch.load(tmp_path / "é.ckpt", weights_only=True, mmap=mmap)
        assert torch.equal(found["state_dict"]["w"], STATE["state_dict"]["w"])  # type: ignore[index]
        assert found["step"] == 3 and found["names"] == ["a"]
    assert InPlace().load_checkpoint(tmp_path / "é.ckpt", weights_only=True)["step"] == 3


def test_what_cannot_be_pickled_keeps_its_error(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, TypeError), match=r"lambda|local|pickle"):
        InPlace().save_checkpoint({"a": lambda: 1}, tmp_path / "x.ckpt")
