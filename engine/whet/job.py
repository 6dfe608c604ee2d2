"""What every stage of one job shares: its data, its judgments, its run folder and the negatives in
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whet.config import FitConfig
from whet.data.holdout import eval_split_name, hold_out
from whet.data.load import Dataset, load_dataset
from whet.data.positives import positives_of
from whet.determinism import is_deterministic
from whet.mine import Mined, read_negatives, write_negatives
from whet.model.encoder import Encoder
from whet.progress import say
from whet.stages import Pace, training_qrels, write_mining_report
from whet.types import Negatives, Positives, Qrels
from whet.world import from_leader, together

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
    return opened(config, folder, shared_dataset(config))


def opened(config: FitConfig, folder: Path, data: Dataset) -> Job:
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


def splits_of(data: Dataset, config: FitConfig) -> tuple[Qrels, Qrels]:
    """The judgments to learn from and those to judge by; a tenth is held out where there is no
    test or dev.
    """
    train = training_qrels(data, config.data.train_split)
    name = config.data.eval_split or eval_split_name(data)
    if name is None:
        train, judged = hold_out(train, data.queries)
        count = len(judged.query_rows)
        say(f"No test or dev split: {count:,} train queries are held out to judge by.")
        return train, judged
    return train, data.split(name)


def write_mined(job: Job, mined: Mined, encoder: Encoder, step: int) -> None:
    """Write the negatives of a step, and the report of how they were found, to the run folder."""

    def write() -> None:
        write_negatives(
            negatives_path(job, step),
            mined,
            queries=job.data.queries,
            corpus=job.data.corpus,
            positives=job.positives,
            model=encoder.fingerprint(),
            data=job.data.digest,
        )
        write_mining_report(job.folder / "mining_report.json", mined, job.data)

    from_leader(write)


def negatives_path(job: Job, step: int) -> Path:
    """The file of the negatives mined with the weights of a step."""
    return job.folder / "negatives" / f"step_{step:08d}.parquet"


def stored_negatives(job: Job, step: int) -> Negatives:
    """The negatives of a step, read by every process."""

    def read() -> Negatives:
        return read_negatives(
            negatives_path(job, step),
            queries=job.data.queries,
            corpus=job.data.corpus,
            data=job.data.digest,
        )

    return together(read)
