"""A fit that is judged on a pool, or mines among some documents."""

from __future__ import annotations

from typing import Any

from whet.config import FitConfig
from whet.data.load import Dataset
from whet.data.splits import judged_of
from whet.encoding.corpus import embed
from whet.evaluation.pool.choose import DocumentPool, Vectors, kept_pool
from whet.evaluation.pool.size import check_pool
from whet.model.encoder import Encoder
from whet.run.early import check_words
from whet.run.job import Job


def check_parts(data: Dataset, config: FitConfig) -> None:
    """Refuse what cannot be judged or mined in a part of the corpus."""
    check_words(config.mining)
    check_pool(config.evaluate, judged_of(data, config), len(data.corpus))


def judged_pool(job: Job, encoder: Encoder) -> DocumentPool | None:
    """The documents that both models are judged on, None for all. Where mining needs the vectors
    of all anyway, some are chosen by these.
    """
    config = job.config

    def vectors() -> Vectors:
        known: dict[str, Any] = {"config": config.encode, "pace": job.pace}
        return embed(encoder, job.data, job.eval, store=job.base_store, **known)

    encodes_all = config.mining.num_negatives and config.mining.scope == "all"
    path, by_vector = job.folder / "pool.npy", vectors if encodes_all else None
    return kept_pool(path, job.data, job.eval, config.evaluate, vectors=by_vector)
