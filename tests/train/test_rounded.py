"""Mining by vectors that a CPU computes in 8 bits: near those of float32, kept apart from them, and
never judged by.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whet
from whet.config import EncodeConfig
from whet.errors import CheckpointError
from whet.model.encoder import Encoder
from whet.processes.devices import choose_device, choose_precision
from whet.refresh import rounded
from whet_launch.cli.main import main

TEXTS = ["bace difo", "guka lemi nopu", "rase tivo zuba ce", "di"]


def test_vectors_of_8_bits_are_near_and_have_a_name_of_their_own(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    before = encoder.fingerprint()
    exact, fast = encoder.encode(TEXTS), rounded.EightBitEncoder(encoder)
    found = fast.encode(TEXTS)
    assert (np.sum(exact * found, axis=1) > 0.99).all() and (exact != found).any()
    assert fast.fingerprint() != before == encoder.fingerprint() and fast.fingerprint().isalnum()
    assert (fast.encode(TEXTS) == found).all() and (encoder.encode(TEXTS) == exact).all()
    again = rounded.EightBitEncoder(Encoder.load(str(tiny_model)))
    assert again.fingerprint() == fast.fingerprint() and (again.encode(TEXTS) == found).all()


def test_everything_else_is_encoded_as_ever() -> None:
    config = EncodeConfig(precision="int8", device="cpu")
    assert choose_precision(config, choose_device(config)) == "fp32"


def fitted(data: Path, model: Path, folder: Path, precision: str) -> dict[str, Any]:
    run = whet.fit(
        str(data), model=str(model), output=str(folder), encode={"precision": precision},
        trainer={"max_steps": 4, "batch_size": 8}, refresh={"policy": "steps", "every_n_steps": 2},
    )  # fmt: skip
    facts: dict[str, Any] = json.loads((run.folder / "environment.json").read_text())
    return {"facts": facts, "base": run.comparison.main.base}


@pytest.mark.slow
def test_a_fit_mines_in_8_bits_where_that_pays_and_finds_the_same(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    whole = rounded.EightBitEncoder.__init__

    def counted(self: Any, encoder: Encoder) -> None:
        used.append(1)
        whole(self, encoder)

    monkeypatch.setattr(rounded.EightBitEncoder, "__init__", counted)
    plain = fitted(tiny_data, tiny_model, tmp_path / "plain", "auto")
    assert used == []
    monkeypatch.setattr(rounded, "PAYS", 1e9)
    refused = fitted(tiny_data, tiny_model, tmp_path / "slow", "int8")
    assert len(used) == 1 and "does not pay" in refused["facts"]["8-bit vectors"]
    monkeypatch.setattr(rounded, "PAYS", 0.0)
    monkeypatch.setattr(rounded, "LEAST", 0.0)
    used.clear()
    taken = fitted(tiny_data, tiny_model, tmp_path / "fast", "int8")
    assert len(used) == 3  # to measure, to compare, and for the one refresh
    assert "judging stays in float32" in taken["facts"]["8-bit vectors"]
    kept = json.loads((tmp_path / "fast" / "negatives" / "int8.json").read_text())
    assert kept["used"] is True and 0.5 < kept["overlap"] <= 1
    assert plain["base"] == refused["base"] == taken["base"]
    assert "8-bit vectors" in (tmp_path / "fast" / "report.html").read_text()


def test_mine_looks_among_candidates_in_8_bits(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(rounded, "PAYS", 0.0)
    monkeypatch.setattr(rounded, "LEAST", 0.0)
    words = [f"data={tiny_data}", f"model={tiny_model}", f"output={tmp_path}/out"]
    words += ["mining.scope=candidates", "mining.candidates=2", "encode.precision=int8"]
    assert main(["mine", *words]) == 0
    told = capsys.readouterr()
    among = re.search(r"looked for among (\d+) of the 120 documents", told.err)
    assert among and "judging stays in float32" in told.err
    assert f"over {among[1]} of 120 documents" in told.out


def test_a_decision_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "int8.json"
    for record in ({}, {"speed": "fast", "overlap": 1.0, "used": True}, {"speed": 1.0, "more": 2}):
        path.write_text(json.dumps(record))
        with pytest.raises(CheckpointError, match="not as it was written"):
            rounded._read(path)
