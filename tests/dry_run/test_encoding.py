"""Encoding on a GPU that is not there: the vectors, and how often the host waits for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from device_checks import TEXTS, check_cross_encoder, check_encoding, cross_encoder_of
from pretend_cuda import Gpu, pretend_cuda

from whet.config import EncodeConfig
from whet.encoding.table import encode_table
from whet.mining.crossencoder import CrossEncoder
from whet.model.encoder import Encoder
from whet.model.inference import encode_texts


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_vectors_are_those_of_a_cpu_and_the_host_waits_once(
    gpu: Gpu, tiny_model: Path, pooling: str
) -> None:
    """To the rounding of 16 bits."""
    check_encoding(gpu, tiny_model, pooling)


def test_in_32_bits_only_the_order_of_sums_differs(gpu: Gpu, tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    found_ND, wanted_ND = (
        encode_texts(encoder, TEXTS, "document", EncodeConfig(precision="fp32", device=device))
        for device in ("cuda", "cpu")
    )
    assert np.abs(found_ND - wanted_ND).max() < 1e-6


def test_a_table_is_tokenised_beside_the_gpu(
    gpu: Gpu, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """In blocks, in another thread, and every text gets its own vector."""
    import threading

    from whet.data.load import load_dataset
    from whet.encoding import table as tables

    encoder = Encoder.load(str(tiny_model))
    corpus = load_dataset(str(tiny_data)).corpus
    config = EncodeConfig(precision="fp32")
    threads: set[str] = set()
    tokenize = encoder.tokenize

    def watched(texts: list[str], kind: str) -> list[list[int]]:
        threads.add(threading.current_thread().name)
        return tokenize(texts, kind)

    encoder.tokenize = watched  # type: ignore[method-assign, assignment]
    blocks, tables.BLOCK = tables.BLOCK, 50
    try:
        embeddings = encode_table(encoder, corpus, kind="document", store=tmp_path, config=config)
    finally:
        tables.BLOCK = blocks
    assert all(name.startswith("tokenizer") for name in threads), threads
    wanted_ND = encode_texts(encoder, corpus.texts(np.arange(120)), "document", config)
    assert np.abs(embeddings.vectors - wanted_ND).max() < 1e-6


@pytest.fixture(scope="module")
def cross_encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder_of(tiny_model, tmp_path_factory.mktemp("cross"))


def test_a_cross_encoder_scores_in_16_bits(cross_encoder: Path) -> None:
    wanted_M = CrossEncoder(str(cross_encoder)).scores(TEXTS[:9], TEXTS[9:18])
    with pretend_cuda() as gpu:
        check_cross_encoder(gpu, cross_encoder, wanted_M)
