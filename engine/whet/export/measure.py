"""What an exported model is worth beside the one it came from: size, speed, and nDCG@10 on data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whet.config import EncodeConfig, EvaluateConfig
from whet.data.load import Dataset
from whet.data.splits import eval_qrels
from whet.encoding.store import embeddings_folder
from whet.evaluation.judge import judge
from whet.export.checks import KIND, cosines, mixed_vectors
from whet.model.encoder import Encoder

MEASURE = "nDCG@10"
TIMED = 64  # texts
ROUNDS = 3
ON_CPU = EncodeConfig(precision="fp32", device="cpu")  # all on the same device, to be compared


@dataclass(frozen=True)
class SystemRow:
    """One system: its size, its speed on this CPU, and how near it is to the model."""

    name: str
    megabytes: float
    texts_a_second: float
    cosine_mean: float
    cosine_min: float
    ndcg: float | None


def measured(
    systems: dict[str, tuple[Encoder, Sequence[Path]]],
    texts: Sequence[str],
    data: Dataset | None,
    split: str | None,
) -> list[SystemRow]:
    """A row for each system (an encoder and its weight files); the first is the model itself."""
    encoders = {name: encoder for name, (encoder, _) in systems.items()}
    speeds = _speeds(encoders, _timed_texts(texts, data))
    vectors = {name: mixed_vectors(encoder, texts) for name, encoder in encoders.items()}
    model_ND = next(iter(vectors.values()))
    rows = []
    for name, (encoder, files) in systems.items():
        cosine_N = cosines(model_ND, vectors[name])
        rows.append(
            SystemRow(
                name,
                sum(file.stat().st_size for file in files) / 1e6,
                speeds[name],
                float(cosine_N.mean()),
                float(cosine_N.min()),
                None if data is None else _quality(encoder, data, split),
            )
        )
    return rows


def _quality(encoder: Encoder, data: Dataset, split: str | None) -> float:
    config = EvaluateConfig(measures=[MEASURE])
    qrels = eval_qrels(data, split)
    evaluation = judge(
        encoder, data, qrels, store=embeddings_folder(), config=config, encode=ON_CPU
    )
    return evaluation.scores.means[MEASURE]


def _timed_texts(texts: Sequence[str], data: Dataset | None) -> list[str]:
    """Documents spread over the corpus, or the given texts where there is none."""
    if data is None:
        return list(texts[:TIMED])
    return data.corpus.texts(np.unique(np.linspace(0, len(data.corpus) - 1, TIMED).astype(int)))


def _speeds(encoders: dict[str, Encoder], texts: list[str]) -> dict[str, float]:
    """Texts per second, the median of rounds in which the systems take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for number in range(ROUNDS + 1):
        for name, encoder in encoders.items():
            start = time.perf_counter()
            encoder.encode(texts, kind=KIND, config=ON_CPU)
            if number:  # the first call also loads and allocates
                seconds[name].append(time.perf_counter() - start)
    return {name: len(texts) / float(np.median(spent)) for name, spent in seconds.items()}


def table(rows: Sequence[SystemRow]) -> str:
    """The rows, for a terminal; without data the cosines to the model's vectors alone."""
    width = max(len(row.name) for row in rows)
    judged = rows[0].ndcg is not None
    last = f"{MEASURE:>9}  {'loss':>7}" if judged else "mean cosine  least"
    lines = [f"{'':<{width}}  {'MB':>7}  {'texts/s':>7}  {last}"]
    for row in rows:
        plain = f"{row.name:<{width}}  {row.megabytes:7.1f}  {row.texts_a_second:7.1f}"
        if row.ndcg is None or rows[0].ndcg is None:
            lines.append(f"{plain}  {row.cosine_mean:11.4f}  {row.cosine_min:.4f}")
        else:
            loss = "" if row is rows[0] else f"  {rows[0].ndcg - row.ndcg:+7.4f}"
            lines.append(f"{plain}  {row.ndcg:9.4f}{loss}")
    return "\n".join(lines)
