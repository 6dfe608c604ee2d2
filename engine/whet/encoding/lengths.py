"""How many documents are longer than a model reads, told by its tokenizer alone (no torch)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from whet.config import BM25, ModelConfig
from whet.data.load import Dataset
from whet.errors import WhetError
from whet.model.folder import find_folder
from whet.progress import say
from whet.storage.readable import readable_json

LOOKED_AT = 1_000  # documents, spread evenly over the corpus
REMEDY = "Say data.passages=auto to cut them into passages, or raise model.max_length if it can be."
_CHARS = 32  # per token that the model reads: of a longer text the rest need not be looked at
_FILES = {  # where a model's folder says how much it reads
    "sentence_bert_config.json": "max_seq_length",
    "config.json": "max_position_embeddings",
    "tokenizer_config.json": "model_max_length",
}


def cut_documents(data: Dataset, model: ModelConfig) -> str | None:
    """Which share of the documents is longer than the model reads, as a sentence; None where none
    is, or where the model is not on this machine or has no tokenizer.json.
    """
    try:
        folder = _local_folder(model)
        if folder is None:
            return None
        tokenizer = _tokenizer(folder / "tokenizer.json")
        limits = [_limit(folder / name, key) for name, key in _FILES.items()]
    except (WhetError, OSError):
        return None  # who opens the model says what is wrong with it
    limit = model.max_length or limits[0] or min(filter(None, limits[1:]), default=0)
    if tokenizer is None or not limit:
        return None
    rows = np.unique(np.linspace(0, len(data.corpus) - 1, LOOKED_AT).astype(np.int64))
    longer = sum(_is_longer(text, limit, tokenizer) for text in data.corpus.texts(rows))
    if not longer:
        return None
    share = 100 * longer / len(rows)
    about = "" if len(rows) == len(data.corpus) else "about "
    return (
        f"{about}{max(1, math.floor(share + 0.5))} % of the documents are longer than the "
        f"{limit:,} tokens the model reads; the rest of each is cut off"
    )


def tell_cut_documents(data: Dataset, model: ModelConfig) -> None:
    """Say it, where there are any."""
    sentence = cut_documents(data, model)
    if sentence is not None:
        say(f"{data.path}: {sentence}. {REMEDY}")


def _local_folder(model: ModelConfig) -> Path | None:
    if model.name == BM25:
        return None
    if model.name != "minilm" and not Path(model.name).expanduser().is_dir():
        from huggingface_hub import snapshot_download

        try:
            return Path(
                snapshot_download(model.name, revision=model.revision, local_files_only=True)
            )
        except Exception:  # the client's many: it is not on this machine
            return None
    folder = find_folder(model)
    inner = folder / "0_Transformer"
    return inner if inner.is_dir() else folder


def _tokenizer(path: Path) -> Any:
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # the library raises Exception itself
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _limit(path: Path, key: str) -> int | None:
    if not path.is_file():
        return None
    value = readable_json(path, remedy="Copy it again").get(key)
    return value if type(value) is int and 0 < value < 1 << 20 else None


def _is_longer(text: str, limit: int, tokenizer: Any) -> bool:
    # a token is a byte at least, but for the few that stand around a text
    if len(text) * 4 < limit and len(text.encode()) + 8 <= limit:
        return False
    return len(tokenizer.encode(text[: limit * _CHARS]).ids) > limit
