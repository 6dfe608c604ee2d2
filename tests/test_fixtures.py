"""The shared fixtures are what they say."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


def test_the_tiny_model_opens_as_a_sentence_transformers_folder(tiny_model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model))
    vectors_ND = model.encode(["bace fogu", "Bace FOGU", "kale mino"])
    assert vectors_ND.shape == (3, 32)
    assert (vectors_ND[0] == vectors_ND[1]).all()
    assert (vectors_ND[0] != vectors_ND[2]).any()
    assert abs((vectors_ND**2).sum(axis=1) - 1).max() < 1e-6
    assert "[UNK]" not in model.tokenizer.tokenize("bace, a=1; {x}")
    assert model.max_seq_length == 32


def test_the_tiny_data_are_a_beir_folder(tiny_data: Path) -> None:
    assert len((tiny_data / "corpus.jsonl").read_text().splitlines()) == 120
    assert len((tiny_data / "queries.jsonl").read_text().splitlines()) == 80
    assert len((tiny_data / "qrels" / "train.tsv").read_text().splitlines()) == 1 + 60 + 6
    assert len((tiny_data / "qrels" / "test.tsv").read_text().splitlines()) == 1 + 20 + 2


def test_the_network_is_closed() -> None:
    with pytest.raises(OSError, match="closed in tests"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(OSError, match="closed in tests"):
        socket.getaddrinfo("example.org", 443)


def test_the_cache_is_new(own_cache: Path) -> None:
    assert os.environ["WHET_CACHE"] == str(own_cache)
