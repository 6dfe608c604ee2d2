"""What every stage of one job shares: its data, its judgments, its run folder and the negatives in
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from whet.config import FitConfig
from whet.data.load import Dataset, open_dataset
from whet.encoding.corpus import Pace
from whet.evaluation.selection.dev_part import parts_of, tell_dev
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.processes.world import from_leader, together
from whet.run.determinism import base_store, is_deterministic
from whet.training.batches.order import Order, pairs_read, total_steps
from whet.types import Positives, Qrels


@dataclass(frozen=True)
class Job:
    """What every stage of one job needs."""

    config: FitConfig
    folder: Path
    data: Dataset
    train: Qrels
    learned: Qrels  # what is relevant to the queries that the planned steps read
    eval: Qrels
    positives: Positives
    pace: Pace
    dev: Qrels | None = None  # chooses the weights that come back; None: the last ones do
    _kept: dict[str, Encoder] = field(default_factory=dict, compare=False)

    def documents_by(self, encoder: Encoder) -> Encoder:
        """Who encodes documents beside an encoder that learns: it itself, or with model.train=query
        the model before training, whose vectors are in `base_store`.
        """
        if self.config.model.train != "query":
            return encoder
        if "base" not in self._kept:
            base = replace(self.config.model, lora_rank=0)
            self._kept["base"] = together(lambda: Encoder.load(base))
        return self._kept["base"]

    def whole(self, encoder: Encoder) -> Encoder | Towers:
        """The model that searches, with `encoder` for its queries."""
        documents = self.documents_by(encoder)
        return encoder if documents is encoder else Towers(encoder, documents)

    @property
    def base_store(self) -> Path:
        """Where vectors of the model before training are kept, also for other runs."""
        return base_store(self.config, self.data.digest)

    @property
    def scratch(self) -> Path:
        """Where those of weights that are still changing are; gone when the job is done."""
        return scratch_of(self.folder)


def scratch_of(folder: Path) -> Path:
    """Where a run folder keeps what nobody needs when the job is done."""
    return folder / ".scratch"


def open_job(config: FitConfig, folder: Path) -> Job:
    """What every stage of the job in a run folder needs."""
    return job_with_data(config, folder, shared_dataset(config))


def job_with_data(config: FitConfig, folder: Path, data: Dataset) -> Job:
    """The same with the data at hand."""
    parts = parts_of(data, config)
    tell_dev(parts, config)
    train = parts.train
    return Job(
        config,
        folder,
        data,
        train,
        learned=learned_of(train, config),
        eval=parts.judged,
        dev=parts.dev,
        positives=data.positives(train),
        pace=Pace(is_deterministic(config)),
    )


def learned_of(train: Qrels, config: FitConfig) -> Qrels:
    """All that is relevant to the queries of the pairs that the planned steps read: which these are
    follows from options and seed. No other query needs a vector or negatives.
    """
    relevant = train.relevant()
    order = Order(len(relevant), config.trainer.batch_size, config.seed)
    read = pairs_read(order, total_steps(order, config.trainer))
    return relevant.only(np.isin(relevant.query_rows_M, relevant.query_rows_M[read]))


def shared_dataset(config: FitConfig) -> Dataset:
    """The data in every process, converted by the leader where the cache is shared."""
    loaded: list[Dataset] = []
    from_leader(lambda: loaded.append(open_dataset(config.data)))
    return together(lambda: loaded[0] if loaded else open_dataset(config.data))
