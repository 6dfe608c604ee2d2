"""Tiny random models of several architectures, all with the tiny model's tokenizer."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROMPTS: dict[str, Any] = {"query_prompt": "bace ", "document_prompt": "difo: "}
SMALL: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "mpnet": {},
    "xlm-roberta": {"type_vocab_size": 1, "pad_token_id": 0},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0},
}
COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


@pytest.fixture
def tiny_of(tiny_model: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Write a random model of an architecture, with the tiny model's tokenizer and modules."""

    def write(kind: str) -> Path:
        import torch
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        folder = tmp_path / kind
        shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        size = len(AutoTokenizer.from_pretrained(tiny_model))
        config = AutoConfig.for_model(kind, vocab_size=size, **COMMON, **SMALL[kind])
        with torch.random.fork_rng():
            torch.manual_seed(3)
            AutoModel.from_config(config).save_pretrained(folder)
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_saved(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with prompts, cut to 20 tokens, as Whet saves it."""
    from whet.config import ModelConfig
    from whet.model.encoder import Encoder

    config = ModelConfig(str(tiny_model), max_length=20, **PROMPTS)
    return Encoder.load(config).save(tmp_path_factory.mktemp("saved") / "tiny" / "model")


@pytest.fixture(scope="session")
def tiny_export(tiny_saved: Path, tiny_data: Path) -> Path:
    """What `whet export` makes of it, with data: drawing a graph takes seconds, so once for all.

    What was printed lies in `shown.txt` beside the folder.
    """
    from whet_launch.cli.main import main

    folder = tiny_saved.parent / "out"
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert main(["export", str(tiny_saved), f"data={tiny_data}", f"output={folder}"]) == 0
    (folder.parent / "shown.txt").write_text(shown.getvalue(), encoding="utf-8")
    return folder
