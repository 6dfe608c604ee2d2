"""A change that is to move code moves no figure: losses, mined documents, measures as recorded.

`golden.py` compares the bits of two commits; here is what every machine must come to.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import golden

ROUNDING = 2e-5  # other instructions of a CPU add up in another order; over 30 steps of Adam


@pytest.mark.slow
def test_losses_negatives_and_measures_are_those_on_record(tmp_path: Path) -> None:
    recorded = json.loads(golden.FIGURES.read_text(encoding="utf-8"))
    golden.make_inputs(tmp_path)
    made = golden.figures(golden.products(tmp_path, golden.ROOT, list(golden.COMMANDS)))
    assert made["mined"] == recorded["mined"]
    for name, losses in recorded["loss"].items():
        assert made["loss"][name] == pytest.approx(losses, rel=ROUNDING), name
    assert made["measures"].keys() == recorded["measures"].keys()
    for name, models in recorded["measures"].items():
        for model, measures in models.items():
            assert made["measures"][name][model] == pytest.approx(measures, abs=0.01), name
