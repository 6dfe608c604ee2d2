"""Documents longer than a model reads are told by check, fit, mine and eval, without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from whet.config import CheckConfig, DataConfig, ModelConfig
from whet.data.load import Dataset, load_dataset
from whet.encoding.lengths import cut_documents
from whet.verbs.check import check_command

SENTENCE = (
    "50 % of the documents are longer than the 256 tokens the model reads; "
    "the rest of each is cut off"
)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    # of a text of n times "a" minilm reads n tokens and two around them
    for name, words in {"a": 254, "b": 255, "c": 3, "d": 2_000}.items():
        (folder / f"{name}.txt").write_text("a " * words)
    return folder


def opened(folder: Path) -> Dataset:
    return load_dataset(str(folder), cache_dir=folder.parent / "cache")


def test_the_share_is_exact(texts: Path) -> None:
    assert cut_documents(opened(texts), ModelConfig()) == SENTENCE
    assert cut_documents(opened(texts), ModelConfig(max_length=257)) == SENTENCE.replace(
        "50 %", "25 %"
    ).replace("256", "257")
    assert cut_documents(opened(texts), ModelConfig(max_length=5_000)) is None


def test_a_model_that_is_not_here_says_nothing(texts: Path) -> None:
    assert cut_documents(opened(texts), ModelConfig(name="nobody/no-such-model")) is None
    assert cut_documents(opened(texts), ModelConfig(name="bm25")) is None


def test_check_tells_it(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_command(CheckConfig(DataConfig(str(texts)))) == 0
    assert f"texts: {SENTENCE}. Say data.passages=auto to cut" in capsys.readouterr().out


def test_it_needs_no_torch(texts: Path) -> None:
    code = (
        "import sys; from whet.verbs.check import check_command; "
        "from whet.config import CheckConfig, DataConfig; "
        f"check_command(CheckConfig(DataConfig({str(texts)!r}))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)


def test_positions_that_are_counted_from_the_padding_are_fewer(tmp_path: Path) -> None:
    """A RoBERTa with 66 positions and the padding's number 1 reads 64 tokens."""
    from whet.model.folder import find_folder

    folder, texts = tmp_path / "roberta", tmp_path / "texts"
    folder.mkdir()
    texts.mkdir()
    shutil.copy(find_folder(ModelConfig()) / "tokenizer.json", folder)
    config = {"model_type": "roberta", "max_position_embeddings": 66, "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config))
    for name, words in {"a": 62, "b": 63}.items():  # and two tokens around them
        (texts / f"{name}.txt").write_text("a " * words)
    told = cut_documents(opened(texts), ModelConfig(name=str(folder)))
    assert told == SENTENCE.replace("256", "64")
