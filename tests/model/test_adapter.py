"""A LoRA's own weights beside the merged model: peft opens them, with equal vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel

from whet.config import ModelConfig
from whet.errors import ConfigError, EnvironmentRefused, UnsupportedModel
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


def made(base: Path, folder: Path, **options: Any) -> np.ndarray:
    """Write an adapter of a folder's transformer by peft alone; the vectors of the two together."""
    torch.manual_seed(3)
    backbone = AutoModel.from_pretrained(base)
    model = get_peft_model(backbone, LoraConfig(**{"target_modules": ["query", "value"]} | options))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                weight.normal_(std=0.1)
    model.save_pretrained(folder)
    whole = Encoder.load(str(base))
    whole.backbone = model.eval()
    return whole.encode(TEXTS)


@pytest.mark.parametrize(
    "options",
    [
        {"r": 4, "lora_alpha": 16},
        {"r": 4, "use_rslora": True},
        {"r": 4, "rank_pattern": {"query": 2}, "alpha_pattern": {"1.attention.self.query": 3}},
        {"target_modules": ["query", "word_embeddings"]},
        {"modules_to_save": ["value"], "target_modules": ["query"]},
    ],
)
def test_an_adapter_is_a_model(
    options: dict[str, Any], tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = made(tiny_model, tmp_path / "lora", **options)
    encoder = Encoder.load(str(tmp_path / "lora"))
    assert np.abs(wanted - Encoder.load(str(tiny_model)).encode(TEXTS)).max() > 1e-3
    assert np.abs(encoder.encode(TEXTS) - wanted).max() < 1e-5
    assert "the adapter is merged into" in capsys.readouterr().err
    again = Encoder.load(ModelConfig(str(tmp_path / "lora"), lora_rank=2))  # and can be trained
    assert np.abs(again.encode(TEXTS) - wanted).max() < 1e-5
    assert "merged" not in capsys.readouterr().err  # once


def test_an_adapter_of_sentence_transformers_has_its_own_pooling(
    tiny_model: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    model[1].pooling_mode = "cls"
    model.add_adapter(LoraConfig(target_modules=["query", "value"], init_lora_weights=False))
    wanted = model.encode(TEXTS)
    model.save_pretrained(str(tmp_path / "st"))
    assert not (tmp_path / "st" / "model.safetensors").exists()
    assert np.abs(Encoder.load(str(tmp_path / "st")).encode(TEXTS) - wanted).max() < 1e-5


def test_an_adapter_of_another_model_or_of_itself_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    made(tiny_model, tmp_path / "lora")
    path = tmp_path / "lora" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": "minilm"}))
    with pytest.raises(ConfigError, match="It is an adapter of another model"):
        Encoder.load(str(tmp_path / "lora"))
    path.write_text(json.dumps(config | {"base_model_name_or_path": str(path.parent)}))
    with pytest.raises(UnsupportedModel, match="is an adapter of an adapter"):
        Encoder.load(str(tmp_path / "lora"))
    path.write_text(json.dumps(config | {"base_model_name_or_path": "owner/base"}))
    with pytest.raises(EnvironmentRefused, match="is an adapter, and its base=owner/base cannot"):
        Encoder.load(str(tmp_path / "lora"))


def test_the_adapter_of_a_run_opens_with_the_vectors_of_its_model(tmp_path: Path) -> None:
    encoder = changed(Path("minilm"))
    folder = encoder.save(tmp_path / "saved")
    found = Encoder.load(str(folder / "adapter")).encode(TEXTS)
    assert np.abs(found - encoder.encode(TEXTS)).max() < 1e-5
