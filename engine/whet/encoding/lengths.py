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
from whet.model.parts.layout import read_layout
from whet.model.parts.recipe import LONGEST, read_recipe
from whet.progress import say
from whet.storage.places import user_path
from whet.storage.readable import readable_json

LOOKED_AT = 1_000  # documents, spread evenly over the corpus
REMEDY = "Cut them into passages, or raise model.max_length where the model can read more."
_CHARS = 32  # per token that the model reads: of a longer text the rest need not be looked at
# Whose positions are counted from the padding's number on: the first ones are no token's.
_COUNTED_FROM_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "esm"}


def cut_documents(data: Dataset, model: ModelConfig) -> str | None:
    """Which share of the documents is longer than the model reads, as a sentence; None where none
    is, or where the model is not on this machine or has no tokenizer.json.
    """
    try:
        folder = _local_folder(model)
        if folder is None:
            return None
        layout = read_layout(folder)
        tokenizer = _tokenizer(layout.backbone / "tokenizer.json")
        recipe = read_recipe(layout, model, longest=_longest(layout.backbone))
    except (WhetError, OSError):
        return None  # who opens the model says what is wrong with it
    limit, prompt = recipe.max_length, recipe.prompt("document")
    if tokenizer is None or limit >= LONGEST:
        return None
    rows = np.unique(np.linspace(0, len(data.corpus) - 1, LOOKED_AT).astype(np.int64))
    longer = sum(_is_longer(prompt + text, limit, tokenizer) for text in data.corpus.texts(rows))
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
    for part in data.each:
        sentence = cut_documents(part, model)
        if sentence is not None:
            say(f"{part.path}: {sentence}. {REMEDY}")


def _local_folder(model: ModelConfig) -> Path | None:
    if model.name == BM25:
        return None
    if model.name != "minilm" and not user_path(model.name).is_dir():
        from huggingface_hub import snapshot_download

        try:
            return Path(
                snapshot_download(model.name, revision=model.revision, local_files_only=True)
            )
        except Exception:  # the client's many: it is not on this machine
            return None
    return find_folder(model)


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


def _longest(folder: Path) -> int:
    """How many tokens transformer and tokenizer say they take, by their files alone."""
    config, tokenizer = (_json(folder / name) for name in ("config.json", "tokenizer_config.json"))
    positions, padding = config.get("max_position_embeddings"), config.get("pad_token_id")
    if config.get("model_type") in _COUNTED_FROM_PADDING and type(positions) is int:
        positions -= 1 + (padding if type(padding) is int else 1)
    limits = (positions, tokenizer.get("model_max_length"))
    return min((limit for limit in limits if type(limit) is int and limit > 0), default=LONGEST)


def _json(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = readable_json(path, remedy="Copy it again") if path.is_file() else {}
    return record


def _is_longer(text: str, limit: int, tokenizer: Any) -> bool:
    # a token is a byte at least, but for the few that stand around a text
    if len(text) * 4 < limit and len(text.encode()) + 8 <= limit:
        return False
    return len(tokenizer.encode(text[: limit * _CHARS]).ids) > limit
