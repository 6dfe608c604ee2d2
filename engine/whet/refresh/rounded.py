"""Documents mined among by vectors that a CPU computes in 8 bits (`encode.precision=int8`): whether
that is faster here, and whether it finds the same negatives.

Shape suffixes: P queries of the sample, S documents of it, L lists of C candidates, B texts timed.
"""

from __future__ import annotations

import copy
import hashlib
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

from whet.config import EncodeConfig, MiningConfig
from whet.data.load import Dataset
from whet.encoding.table import encode_table
from whet.errors import CheckpointError
from whet.mining.part import candidates_of, positives_within
from whet.model.backbone import merged
from whet.model.encoder import Encoder
from whet.model.inference import CPU_BATCH_TOKENS
from whet.processes.devices import choose_device
from whet.processes.world import from_leader
from whet.progress import say
from whet.run.job import Job
from whet.storage.commit import write_json
from whet.storage.readable import readable_json
from whet.types import Item, Positives

PROBE_S = 0.25  # of encoding, both ways together
PAYS = 1.1  # times as fast at least
QUERIES, DOCUMENTS = 64, 1_024  # of the sample on which the negatives are compared
LEAST = 0.9  # of the negatives by float32 that 8 bits must find on it
FILE = "int8.json"


class EightBitEncoder(Encoder):
    """A copy of an encoder for a CPU, whose attention multiplies in 8 bits: the layers that are as
    wide as what they get. Their weights are rounded once, what these are multiplied with batch by
    batch (torch's dynamic quantisation). Its vectors are close to the encoder's, and have a
    fingerprint of their own.

    The layers between attentions stay in float32: what they are multiplied with has numbers far
    from the others, which 8 bits for all of them round most.
    """

    def __init__(self, encoder: Encoder) -> None:
        backbone = copy.deepcopy(encoder.backbone)
        if hasattr(backbone, "peft_config"):
            backbone = merged(encoder.backbone)
        square = {
            name: per_channel_dynamic_qconfig
            for name, layer in backbone.named_modules()
            if isinstance(layer, torch.nn.Linear) and layer.in_features == layer.out_features
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that another package is to have it one day
            rounded = quantize_dynamic(backbone.cpu().eval(), square, inplace=True)
        layers = list(encoder.layers)
        super().__init__(rounded, encoder.tokenizer, encoder.recipe, encoder.source, layers)
        self.matrix = encoder.matrix
        self._print = hashlib.sha256(f"int8 {encoder.fingerprint()}".encode()).hexdigest()

    def fingerprint(self) -> str:
        """Of the encoder that it is a copy of, and of the rounding."""
        return self._print


@dataclass(frozen=True)
class Verdict:
    """How much faster 8 bits are, which share of the negatives they find (None: not looked at), and
    whether they are used.
    """

    speed: float
    overlap: float | None
    used: bool

    def __str__(self) -> str:
        faster = f"encode.precision=int8: {self.speed:.2f} times as fast as float32 here"
        if self.overlap is None:
            return f"{faster}, which does not pay. Documents are mined among in float32."
        same = f"{faster}, and {self.overlap:.0%} of the negatives of a sample are the same"
        if self.used:
            return f"{same}. Documents are mined among by 8-bit vectors; judging stays in float32."
        return f"{same}, less than {LEAST:.0%}. Documents are mined among in float32."


@dataclass(frozen=True)
class EightBitTrial:
    """What is mined: a sample of it decides."""

    data: Dataset
    rows_Q: np.ndarray  # of the queries
    positives: Positives  # of the whole query table
    policy: MiningConfig
    encode: EncodeConfig
    store: Path

    @property
    def asked(self) -> bool:
        """Whether somebody wants 8 bits, and a CPU encodes."""
        wanted = self.encode.precision == "int8" and self.policy.num_negatives > 0
        return wanted and choose_device(self.encode).type == "cpu"

    def measured(self, encoder: Encoder) -> Verdict:
        """Measure, and say what came of it."""
        speed = _speed(self, encoder)
        overlap = _overlap(self, encoder) if speed >= PAYS else None
        verdict = Verdict(round(speed, 2), overlap, overlap is not None and overlap >= LEAST)
        say(str(verdict))
        return verdict


def verdict_of(job: Job, encoder: Encoder) -> Verdict | None:
    """Whether a job mines by 8-bit vectors; None where nobody asked. Measured once, with the model
    before training: the run folder keeps it.
    """
    config, rows = job.config, job.learned.query_rows
    trial = EightBitTrial(
        job.data, rows, job.positives, config.mining, config.encode, job.base_store
    )
    path = job.folder / "negatives" / FILE

    def kept_or_measured() -> Verdict:
        if path.exists():
            return _read(path)
        verdict = trial.measured(encoder)
        path.parent.mkdir(exist_ok=True)
        write_json(path, asdict(verdict))
        return verdict

    return from_leader(kept_or_measured) if trial.asked else None


def _read(path: Path) -> Verdict:
    remedy = "Bring back a copy, or start a new run."
    record: Any = readable_json(path, remedy=remedy)
    try:
        verdict = Verdict(**record)
    except TypeError:
        verdict = None
    figures = () if verdict is None else (verdict.speed, verdict.overlap or 0.0)
    if verdict is None or not all(isinstance(one, int | float) for one in figures):
        raise CheckpointError(f"{path} is not as it was written. {remedy}")
    return verdict


def _speed(trial: EightBitTrial, encoder: Encoder) -> float:
    """Float32's seconds over those of 8 bits, on a batch like those of the corpus."""
    rows = np.unique(np.linspace(0, len(trial.data.corpus) - 1, 256).astype(np.int64))
    items = _by_length(trial.data.corpus.items(rows))
    place = len(items) // 2
    middle = len(encoder.tokenize([items[place]], "document")[0])
    half = max(1, min(len(items), CPU_BATCH_TOKENS // max(1, middle)) // 2)
    batch_B = items[max(0, place - half) : place + half] or items
    seconds = [_seconds(one, batch_B, trial.encode) for one in (encoder, EightBitEncoder(encoder))]
    return seconds[0] / seconds[1]


def _by_length(items: Sequence[Item]) -> list[Item]:
    """Texts by their length; pictures, which all cost the same, as they are."""
    return sorted(items, key=lambda item: len(item) if isinstance(item, str) else 0)


def _seconds(encoder: Encoder, batch_B: list[Item], config: EncodeConfig) -> float:
    """Of the fastest of the rounds that half the probe's time takes, after one that warms up."""
    encoder.encode(batch_B, config=config)
    rounds: list[float] = []
    end = time.perf_counter() + PROBE_S / 2
    while not rounds or time.perf_counter() < end:
        start = time.perf_counter()
        encoder.encode(batch_B, config=config)
        rounds.append(time.perf_counter() - start)
    return min(rounds)


def _overlap(trial: EightBitTrial, encoder: Encoder) -> float:
    """The share of the negatives of a sample of queries, among a sample of documents, that 8 bits
    find as well.
    """
    random, rows_Q = np.random.default_rng(0), trial.rows_Q
    rows_P = np.sort(random.choice(rows_Q, min(QUERIES, len(rows_Q)), replace=False))
    positives = trial.positives.take(rows_P)
    documents = len(trial.data.corpus)
    others = random.choice(documents, min(DOCUMENTS, documents), replace=False)
    rows_S = np.union1d(positives.doc_rows_P, others)
    policy = trial.policy
    count = min(policy.range_min + policy.num_negatives, len(rows_S))
    known: dict[str, Any] = {"store": trial.store, "config": trial.encode}
    queries = encode_table(encoder, trial.data.queries, kind="query", rows=rows_P, **known)
    lists = []
    for one in (encoder, EightBitEncoder(encoder)):
        part = encode_table(one, trial.data.corpus, kind="document", rows=rows_S, **known)
        within = positives_within(positives, rows_S)
        lists.append(candidates_of(queries, part, within, policy, count)[: len(rows_P)])
    shared = [len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(*lists, strict=True)]
    wanted = int((lists[0] >= 0).sum())
    return round(sum(shared) / wanted, 4) if wanted else 1.0
