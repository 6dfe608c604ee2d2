"""What every stage of one job shares: its data, its judgments, its run folder and the negatives in
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from whet.config import FitConfig
from whet.data.joined import joined_qrels, parted_qrels, read_data
from whet.data.load import Dataset, tell_remarks
from whet.data.table import TextTable
from whet.encoding.corpus import Pace
from whet.evaluation.selection.dev_part import dev_of_sets, parts_of, tell_dev, tell_dev_of_sets
from whet.model.encoder import Encoder
from whet.model.folder import find_folder
from whet.model.parts.words import WordsBeside, words_of
from whet.model.towers import Towers
from whet.processes.world import from_leader, together
from whet.run.determinism import base_store, is_deterministic
from whet.training.batches.order import order_of, pairs_read, total_steps
from whet.types import Positives, Qrels

SETS = "sets"  # the folder of what a run keeps of each of several data sets


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
    sets: tuple[Job, ...] = ()  # of several data sets each one's, by its own rows
    store_of: str = ""  # the digest of what is encoded, where it is not the data alone
    _kept: dict[str, Encoder] = field(default_factory=dict, compare=False)

    @property
    def each(self) -> tuple[Job, ...]:
        """The jobs of its data sets: itself, where there is one."""
        return self.sets or (self,)

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
    def base_words(self) -> WordsBeside:
        """How much words in common count in the searches of the model before training."""
        return words_of(find_folder(self.config.model))

    @property
    def base_store(self) -> Path:
        """Where vectors of the model before training are kept, also for other runs."""
        return base_store(self.config, self.store_of or self.data.digest)

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
    if data.parts:
        return _job_of_sets(config, folder, data)
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


def _job_of_sets(config: FitConfig, folder: Path, data: Dataset) -> Job:
    """Of several data sets: what is trained on is one, and each is judged and mined in alone."""
    each = [parts_of(part, config) for part in data.parts]
    tell_dev_of_sets({part.name: one for part, one in zip(data.parts, each, strict=True)}, config)
    train = joined_qrels(data, [parts.train for parts in each])
    learned = learned_of(train, config, data.queries)
    pace, kept = Pace(is_deterministic(config)), dict[str, Encoder]()
    # What a text is encoded beside may change its vector's last bits, and another mix reads others.
    encoded = f"{data.digest} {[float(weight) for weight in config.data.weights]}"
    sets = [
        Job(
            config,
            folder / SETS / part.name,
            part,
            parts.train,
            learned=own,
            eval=parts.judged,
            positives=part.positives(parts.train),
            pace=pace,
            dev=parts.dev,
            store_of=f"{encoded} {part.name}",
            _kept=kept,
        )
        for part, parts, own in zip(data.parts, each, parted_qrels(data, learned), strict=True)
    ]

    def make_folders() -> None:
        for one in sets:
            one.folder.mkdir(parents=True, exist_ok=True)

    from_leader(make_folders)
    return Job(
        config,
        folder,
        data,
        train,
        learned=learned,
        eval=joined_qrels(data, [parts.judged for parts in each]),
        positives=data.positives(train),
        pace=pace,
        dev=dev_of_sets(data, each),
        sets=tuple(sets),
        store_of=encoded,
        _kept=kept,
    )


def learned_of(train: Qrels, config: FitConfig, queries: TextTable | None = None) -> Qrels:
    """All that is relevant to the queries of the pairs that the planned steps read: which these are
    follows from options and seed. No other query needs a vector or negatives. `queries` is the
    table of the rows, which tells several data sets apart.
    """
    relevant = train.relevant()
    order = order_of(relevant.query_rows_M, config, queries)
    read = pairs_read(order, total_steps(order, config.trainer))
    return relevant.only(np.isin(relevant.query_rows_M, relevant.query_rows_M[read]))


def shared_dataset(config: FitConfig) -> Dataset:
    """The data in every process, converted by the leader where the cache is shared."""
    loaded: list[Dataset] = []

    def load() -> Dataset:
        data = read_data(config.data)
        tell_remarks(data)
        return data

    from_leader(lambda: loaded.append(load()))
    return together(lambda: loaded[0] if loaded else load())
