"""Vectors go to the store while a GPU that is not there encodes the next texts."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretend_cuda import Gpu

from whet.config import EncodeConfig
from whet.encoding import table as tables
from whet.encoding.store import EmbeddingStore
from whet.encoding.table import encode_table
from whet.errors import CheckpointError
from whet.model.encoder import Encoder


def store_in_blocks(model: Path, data: Path, folder: Path) -> np.ndarray:
    """Vectors of the 120 documents, by way of a store, 50 at a time."""
    from whet.data.load import load_dataset

    encoder = Encoder.load(str(model)).to("cuda")
    corpus = load_dataset(str(data)).corpus
    config = EncodeConfig(precision="fp32")
    return encode_table(encoder, corpus, kind="document", store=folder, config=config).vectors


def test_vectors_are_written_while_the_gpu_encodes_the_next(
    gpu: Gpu, tiny_model: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block's write ends only when the next one is encoded; the last is on disk at the end."""
    monkeypatch.setattr(tables, "BLOCK", 50)
    encode, add = tables.encode_tokens, EmbeddingStore.add
    encoded: list[int] = []
    written: list[int] = []
    second = threading.Event()

    def encoding(encoder: Any, tokens: Any, *given: Any, **options: Any) -> np.ndarray:
        encoded.append(len(tokens))
        if len(encoded) == 2:
            second.set()
        return encode(encoder, tokens, *given, **options)

    def adding(self: EmbeddingStore, keys_N: np.ndarray, vector_ND: np.ndarray) -> None:
        assert second.wait(20), "the next block waits for the disk"
        add(self, keys_N, vector_ND)
        written.append(len(keys_N))

    monkeypatch.setattr(tables, "encode_tokens", encoding)
    monkeypatch.setattr(EmbeddingStore, "add", adding)
    vector_ND = store_in_blocks(tiny_model, tiny_data, tmp_path)
    assert written == encoded == [50, 50, 20]
    assert np.array_equal(store_in_blocks(tiny_model, tiny_data, tmp_path), vector_ND)
    assert len(encoded) == 3  # all came from the store


@pytest.mark.parametrize(
    ("failing", "error", "kept"),
    [("write", CheckpointError("no room for it"), 1), ("encode", KeyboardInterrupt(), 2)],
)
def test_what_stops_an_encoding_is_raised_and_whole_blocks_stay(
    gpu: Gpu,
    tiny_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
    error: BaseException,
    kept: int,
) -> None:
    """A write that fails, here the second, in its own words; an interrupt, here in the third block,
    after what was encoded before it is written. The next run encodes the rest alone.
    """
    monkeypatch.setattr(tables, "BLOCK", 50)
    encode, add = tables.encode_tokens, EmbeddingStore.add
    calls = Counter[str]()

    def step(name: str, at: int) -> None:
        calls[name] += 1
        if name == failing and calls[name] == at:
            raise error

    def encoding(*given: Any, **options: Any) -> np.ndarray:
        step("encode", 3)
        return encode(*given, **options)

    def adding(*given: Any) -> None:
        step("write", 2)
        add(*given)

    monkeypatch.setattr(tables, "encode_tokens", encoding)
    monkeypatch.setattr(EmbeddingStore, "add", adding)
    with pytest.raises(type(error), match=str(error)):
        store_in_blocks(tiny_model, tiny_data, tmp_path)
    assert not [t for t in threading.enumerate() if t.name.startswith("store")]
    assert len([*tmp_path.glob("*/segment-*")]) == kept
    calls.clear()
    failing = ""
    store_in_blocks(tiny_model, tiny_data, tmp_path)
    assert calls["encode"] == 3 - kept
