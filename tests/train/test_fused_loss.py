"""Training by tiles is the same training."""

import json

import pytest

import whet


def losses(folder, data, model, fused):
    """Three steps, everything of the loss switched on."""
    whet.fit(
        str(data),
        model=str(model),
        mining={"num_negatives": 2},
        loss={"fused": fused, "symmetric": True, "matryoshka_dims": [16], "cache": "always"},
        trainer={"max_steps": 3, "batch_size": 16, "log_every_n_steps": 1, "accelerator": "cpu"},
        output=str(folder),
        select={"policy": "last"},
    )
    lines = (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines if "loss" in json.loads(line)]


def test_steps_by_tiles_equal_plain_ones(tmp_path, tiny_data, tiny_model, capsys):
    plain = losses(tmp_path / "plain", tiny_data, tiny_model, "never")
    assert "by tiles" not in capsys.readouterr().err
    tiled = losses(tmp_path / "tiled", tiny_data, tiny_model, "always")
    assert capsys.readouterr().err.count("by tiles") == 1
    assert len(plain) == 3
    assert tiled == pytest.approx(plain, rel=1e-4)
