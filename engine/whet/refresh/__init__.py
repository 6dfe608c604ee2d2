"""Mining again while a model is trained: of all documents, or cheaply (docs/mining.md).

scopes.py says which documents are encoded and searched, probe.py whether it is time, vectors.py
encodes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from whet.evaluation.pool.size import pool_size
from whet.mining.miner import Mined
from whet.mining.search.gpu import corpus_kept
from whet.model.encoder import Encoder, weights_unchanged
from whet.processes.world import from_leader
from whet.refresh.among import documents_mined
from whet.refresh.probe import Probe
from whet.refresh.rounded import Verdict, verdict_of
from whet.refresh.scopes import SCOPES, All, Refreshed
from whet.refresh.vectors import JobVectors
from whet.run.job import Job
from whet.run.negatives import write_mined
from whet.types import Negatives


@dataclass(frozen=True)
class Fresh:
    """What was mined, and the share of the corpus that was encoded for it."""

    mined: Mined
    encoded_share: float


def share_encoded(job: Job, documents: int) -> float:
    """So many documents as a share of the corpus, 0 to 1: 0 where they keep their vectors."""
    return 0.0 if job.config.model.train == "query" else documents / len(job.data.corpus)


class Refresher:
    """Mines for one job again and again, as `refresh.scope` says.

    Every process of the job calls all methods alike. What it keeps in memory is made by `start`
    from the model before training, so a resumed job has the same.
    """

    def __init__(self, job: Job, scratch: Path | None = None) -> None:
        self.job = job
        self.kept = JobVectors(job, job.base_store)
        # of weights that are still changing
        self.passing = JobVectors(job, scratch or job.scratch)
        config = job.config.refresh
        self.among = documents_mined(job)
        self.verdict: Verdict | None = None  # on 8-bit vectors, once the encoder is known
        self.scope = None if config.policy == "off" else SCOPES[config.scope](job, self.among)
        self.probe = Probe(job) if config.policy == "overlap" else None

    @weights_unchanged()
    def first(self, encoder: Encoder) -> Mined:
        """The negatives of step 0, in the run folder when this returns."""
        with corpus_kept():
            return self._written(self.find_first(encoder), encoder, 0)

    def find_first(self, encoder: Encoder) -> Refreshed:
        """Mine for step 0, in all that `mining.scope` says."""
        self._round(encoder)
        return All(self.job, self.among).find(self.kept, encoder, 0, None)

    @weights_unchanged()
    def start(self, encoder: Encoder) -> None:
        """Keep what later refreshes need of the model before training."""
        self._round(encoder)
        if self.scope is not None:
            with corpus_kept():
                self.scope.start(self.kept, encoder)

    def _round(self, encoder: Encoder) -> None:
        """Mine by 8-bit vectors from here on, if that was asked for and pays. Where the model is
        judged on all documents, their vectors before training are there in float32.
        """
        self.verdict = verdict_of(self.job, encoder)
        if self.verdict is not None and self.verdict.used:
            self.passing = replace(self.passing, in_int8=True)
            documents = len(self.job.data.corpus)
            judged_on_some = pool_size(self.job.config.evaluate.pool, documents) is not None
            self.kept = replace(self.kept, in_int8=judged_on_some)

    @weights_unchanged()
    def again(self, encoder: Encoder, step: int, previous: Negatives | None) -> Fresh:
        """The negatives of a later step, in the run folder when this returns."""
        with corpus_kept():
            refreshed = self.find_again(encoder, step, previous)
            mined = self._written(refreshed, encoder, step)
        self.clear()
        return Fresh(mined, share_encoded(self.job, refreshed.encoded))

    def find_again(self, encoder: Encoder, step: int, previous: Negatives | None) -> Refreshed:
        """Mine for a later step, as `refresh.scope` says."""
        assert self.scope is not None
        return self.scope.find(self.passing, encoder, step, previous)

    @weights_unchanged()
    def overlap_now(self, encoder: Encoder, step: int, current: Negatives) -> float:
        """How much of the negatives in use, mined at `step`, the model would choose again: of a
        sample, 0 to 1.
        """
        assert self.probe is not None
        value = self.probe.overlap(self.passing, encoder, step, current)
        self.clear()
        return value

    def _written(self, refreshed: Refreshed, encoder: Encoder, step: int) -> Mined:
        if self.probe is not None:  # first: where there are negatives there is this, too
            self.probe.keep(refreshed, step)
        write_mined(self.job, refreshed.mined, encoder, step)
        return refreshed.mined

    def clear(self) -> None:
        """Forget the vectors of weights that have changed since."""
        from_leader(lambda: shutil.rmtree(self.passing.store, ignore_errors=True))
