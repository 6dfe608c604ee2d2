"""The negatives of a run folder: one file for each time they were mined."""

from __future__ import annotations

from pathlib import Path

from whet.mining.files import read_negatives, write_negatives
from whet.mining.miner import Mined
from whet.model.encoder import Encoder
from whet.processes.world import from_leader, together
from whet.report.mining import write_mining_report
from whet.run.job import Job
from whet.types import Negatives

REPORT = "mining_report.json"


def write_mined(job: Job, mined: Mined, encoder: Encoder, step: int) -> None:
    """Write the negatives of a step, and the report of how they were found, to the run folder."""
    write_file(job, mined, encoder, step)
    from_leader(lambda: write_mining_report(job.folder / REPORT, mined, job.data))


def write_file(job: Job, mined: Mined, encoder: Encoder, step: int) -> None:
    """Write the negatives alone."""

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
