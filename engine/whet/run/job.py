"""What every stage of one job shares: its data, its judgments, its run folder and the negatives in
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whet.config import FitConfig
from whet.data.load import Dataset, load_dataset
from whet.data.positives import positives_of
from whet.data.splits import splits_of
from whet.encoding.corpus import Pace
from whet.processes.world import from_leader, together
from whet.run.determinism import is_deterministic
from whet.types import Positives, Qrels

SCRATCH = ".scratch"  # embeddings of weights that are still changing; gone when the job is done


@dataclass(frozen=True)
class Job:
    """What every stage of one job needs."""

    config: FitConfig
    folder: Path
    data: Dataset
    train: Qrels
    eval: Qrels
    positives: Positives
    pace: Pace


def open_job(config: FitConfig, folder: Path) -> Job:
    """What every stage of the job in a run folder needs."""
    return job_with_data(config, folder, shared_dataset(config))


def job_with_data(config: FitConfig, folder: Path, data: Dataset) -> Job:
    """The same with the data at hand."""
    train, judged = splits_of(data, config)
    positives = positives_of(train, data.queries, data.corpus)
    return Job(config, folder, data, train, judged, positives, Pace(is_deterministic(config)))


def shared_dataset(config: FitConfig) -> Dataset:
    """The data in every process, converted by the leader where the cache is shared."""
    path, on_problem = config.data.path, config.data.on_problem
    loaded: list[Dataset] = []
    from_leader(lambda: loaded.append(load_dataset(path, on_problem=on_problem)))
    return together(lambda: loaded[0] if loaded else load_dataset(path, on_problem=on_problem))
