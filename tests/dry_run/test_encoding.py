"""Encoding on a GPU that is not there: the vectors, and how often the host waits for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pretend_cuda import Gpu, pretend_cuda

from whet.config import EncodeConfig
from whet.encoding.table import encode_table
from whet.model.encoder import Encoder
from whet.model.inference import encode_texts

TEXTS = [" ".join(["bace", "difo", "guka", "lemi"] * (1 + row % 5)) for row in range(60)]


def test_vectors_are_those_of_a_cpu(tiny_model: Path) -> None:
    """To the rounding of 16 bits; to that of float32 where it is asked for."""
    encoder = Encoder.load(str(tiny_model))
    cpu_ND = encode_texts(encoder, TEXTS, "document", EncodeConfig())
    with pretend_cuda():
        half_ND = encode_texts(encoder, TEXTS, "document", EncodeConfig(batch_tokens=64))
        full = EncodeConfig(precision="fp32", batch_tokens=64)
        full_ND = encode_texts(encoder, TEXTS, "document", full)
        encoder.to("cpu")
    assert np.abs(full_ND - cpu_ND).max() < 1e-6
    assert 1e-6 < np.abs(half_ND - cpu_ND).max() < 0.02
    assert np.abs(np.linalg.norm(half_ND, axis=1) - 1).max() < 1e-6  # the length is not rounded


def test_the_host_waits_once_and_attention_is_in_16_bits(gpu: Gpu, tiny_model: Path) -> None:
    """15 batches; the only wait is for the results."""
    encoder = Encoder.load(str(tiny_model)).to("cuda")
    encode_texts(encoder, TEXTS, "document", EncodeConfig())  # looks at the weights once
    with gpu.during("encode"):
        encode_texts(encoder, TEXTS, "document", EncodeConfig(batch_tokens=64))
    assert gpu.waits("encode") <= 1, gpu.report()
    kinds = {kind for phase, kind in gpu.attention if phase == "encode"}
    assert kinds and all("bfloat16" in kind for kind in kinds), kinds


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


def test_a_cross_encoder_scores_in_16_bits(tiny_model: Path, tmp_path: Path) -> None:
    """As a CPU does, to their rounding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from whet.mining.crossencoder import CrossEncoder

    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    pairs = TEXTS[:9], TEXTS[9:18]
    cpu_M = CrossEncoder(str(tmp_path)).scores(*pairs)
    with pretend_cuda() as gpu:
        half_M = CrossEncoder(str(tmp_path)).scores(*pairs)
        kinds = {kind for _, kind in gpu.attention}
    assert kinds and all("float32" not in kind.split(",")[0] for kind in kinds), kinds
    assert 0 < np.abs(half_M - cpu_M).max() < 0.01
