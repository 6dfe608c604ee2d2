"""A LoRA's own weights beside the merged model: peft opens them, with equal vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModel

from whet.config import ModelConfig
from whet.model.encoder import Encoder

TEXTS = ["bace difo", "guka lemi nopu", "ra"]


def changed(tiny_model: Path) -> Encoder:
    """One whose low-rank updates are not zero, as after a training."""
    encoder = Encoder.load(ModelConfig(str(tiny_model), lora_rank=4))
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return encoder


def test_peft_opens_the_adapter_with_equal_vectors(tiny_model: Path, tmp_path: Path) -> None:
    encoder = changed(tiny_model)
    ours = encoder.encode(TEXTS)
    assert np.abs(ours - Encoder.load(str(tiny_model)).encode(TEXTS)).max() > 1e-3
    folder = encoder.save(tmp_path / "saved")
    base = Encoder.load(str(tiny_model))
    backbone = AutoModel.from_pretrained(tiny_model)
    base.backbone = PeftModel.from_pretrained(backbone, folder / "adapter").eval()
    assert np.abs(base.encode(TEXTS) - ours).max() < 1e-5
    assert np.abs(Encoder.load(str(folder)).encode(TEXTS) - ours).max() < 1e-5


def test_the_adapter_is_small_and_names_no_path(tiny_model: Path, tmp_path: Path) -> None:
    folder = changed(tiny_model).save(tmp_path / "saved") / "adapter"
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_model.name
    assert str(tiny_model.parent) not in (folder / "adapter_config.json").read_text()
    whole = (folder.parent / "model.safetensors").stat().st_size
    assert (folder / "adapter_model.safetensors").stat().st_size < whole
    manifest = json.loads((folder.parent / "manifest.json").read_text())
    assert "adapter/adapter_model.safetensors" in manifest["files"]


def test_a_model_without_a_lora_has_no_adapter(tiny_model: Path, tmp_path: Path) -> None:
    assert not (Encoder.load(str(tiny_model)).save(tmp_path / "saved") / "adapter").exists()
