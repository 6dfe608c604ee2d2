"""This machine's rates: what a simulation of many (scaling.py) rests on, in CPU seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def rates(folder: Path, model: str, share: float) -> dict[str, float]:
    """Each rate by its name in scaling.CONSTANTS; `share` is how much of the work that is made up
    is done.
    """
    from whet.data.load import load_dataset
    from whet.encoding.store import item_keys
    from whet.model.encoder import Encoder

    found = {"merge_s": _merge_s(max(1, round(500 * share)))}
    found["shuffle_s"] = _shuffle_s(round(1e7 * share))
    with tempfile.TemporaryDirectory() as cache:
        start = time.process_time()
        data = load_dataset(str(folder), cache_dir=Path(cache))
        rows = len(data.corpus) + len(data.queries)
        found["convert_s"] = (time.process_time() - start) / rows
        texts = data.corpus.texts(np.arange(len(data.corpus)))
    start = time.process_time()
    item_keys(texts)
    found["key_s"] = (time.process_time() - start) / len(texts)
    encoder = Encoder.load(model)
    start = time.process_time()
    lengths = [len(ids) for ids in encoder.tokenize(texts, "document")]
    found["tokenise_s"] = (time.process_time() - start) / sum(lengths)
    found["length_spread"] = float(np.std(lengths) / np.mean(lengths))
    flops = _sgemm_flops()
    encode_s = _cpu_s(lambda: encoder.encode(texts[:600]))
    weights = _multiplying(encoder)
    found["encode_share (of sgemm)"] = 2 * weights * sum(lengths[:600]) / encode_s / flops
    found["train_share (of sgemm)"] = 6 * weights * _tokens_trained_a_s(data, encoder) / flops
    return found


def _merge_s(queries: int, processes: int = 1024, k: int = 8) -> float:
    random = np.random.default_rng(0)
    rows = random.integers(0, 1 << 40, (queries, processes * k))
    scores = random.random((queries, processes * k), np.float32)
    start = time.process_time()
    order = np.lexsort((rows, -scores, rows < 0), axis=1)[:, :k]
    np.take_along_axis(rows, order, 1)
    return (time.process_time() - start) / rows.size


def _shuffle_s(pairs: int) -> float:
    random = np.random.Generator(np.random.Philox(key=[0, 1]))
    start = time.process_time()
    random.permutation(pairs)
    return (time.process_time() - start) / pairs


def _cpu_s(action: Callable[[], object]) -> float:
    """CPU seconds: others on the machine change them little."""
    start = time.process_time()
    action()
    return time.process_time() - start


def _sgemm_flops() -> float:
    """Of a CPU second."""
    import torch

    square = torch.randn(1024, 1024)
    return 2 * 1024**3 / min(_cpu_s(lambda: square @ square) for _ in range(20))


def _multiplying(encoder: Any) -> int:
    """Weights of the layers: embeddings are looked up."""
    named = encoder.backbone.named_parameters()
    return sum(p.numel() for name, p in named if p.requires_grad and "embeddings" not in name)


def _tokens_trained_a_s(data: Any, encoder: Any) -> float:
    """Tokens of a real step of 64 pairs over its CPU seconds: two steps less one."""
    from whet.config import FitConfig
    from whet.data.splits import splits_of
    from whet.plan.workload import Split, stand_in_examples
    from whet.training.timing import timed_steps

    config = FitConfig()
    train, judged = splits_of(data, config)
    split = Split(train, judged, data.positives(train))
    examples = stand_in_examples(data, split, config)
    options: dict[str, Any] = {"pairs": 64}
    one = _cpu_s(lambda: timed_steps(encoder, examples, config, enough_s=0, **options))
    both: list[Any] = []
    two = _cpu_s(
        lambda: both.extend(timed_steps(encoder, examples, config, enough_s=1e9, **options))
    )
    tokens_a_second: float = both[1].tokens / (two - one)
    return tokens_a_second
