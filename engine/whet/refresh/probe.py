"""Whether the negatives in use are still those the model would choose: a sample tells, cheaply.

Shape suffixes: P queries of the probe, S documents, L lists of C candidates.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from whet.mining.part import candidates_of, check_for_part, chosen_rows, positives_within
from whet.mining.report import overlap
from whet.mining.rows import mine_rows
from whet.model.encoder import Encoder
from whet.processes.world import from_leader, together
from whet.refresh.scopes import Refreshed
from whet.refresh.vectors import JobVectors
from whet.run.job import Job
from whet.run.negatives import negatives_path
from whet.storage.commit import write_atomically
from whet.types import Negatives

QUERIES = 128  # with 16 documents each some 6 % of 50,000 documents; 256 took 11 %
DEPTH, DEEPER = 16, 4  # documents per query, at least, and times the negatives asked


class Probe:
    """Of a few queries, the documents that were near them when negatives were last mined."""

    def __init__(self, job: Job) -> None:
        check_for_part(job.config.mining)
        self.job = job
        rows = job.learned.query_rows
        rng = np.random.default_rng(job.config.seed)
        chosen = rng.choice(len(rows), min(QUERIES, len(rows)), replace=False)
        self.places_P = np.sort(chosen)  # among the queries that are learned from
        self.rows_P = rows[self.places_P]
        self.positives = job.positives.take(self.rows_P)
        mining = job.config.mining
        self.depth = max(DEPTH, DEEPER * (mining.range_min + mining.num_negatives))

    def keep(self, refreshed: Refreshed, step: int) -> None:
        """Write down what is near the queries in the vectors that were mined at a step."""
        among = refreshed.among
        positives = self.positives if among is None else positives_within(self.positives, among)
        queries = refreshed.queries.take(self.places_P)
        count = min(self.depth, len(refreshed.corpus))
        near_LC = candidates_of(queries, refreshed.corpus, positives, self.job.config.mining, count)
        if among is not None:
            # Rows of the part become rows of the corpus; -1 is padding and must stay so.
            near_LC = np.where(near_LC >= 0, among[near_LC], -1)
        content = io.BytesIO()
        np.save(content, near_LC)

        def write() -> None:
            path = self._path(step)
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, content.getvalue())

        # All processes computed the same; one writes, and the others wait until it is there.
        from_leader(write)

    def overlap(
        self, vectors: JobVectors, encoder: Encoder, step: int, current: Negatives
    ) -> float:
        """overlap@k of the negatives mined at `step` with what the model as it is would choose from
        them and from what was near; 0 where that is not known.
        """
        path = self._path(step)
        if not from_leader(path.exists):
            return 0.0
        near_LC = together(lambda: np.load(io.BytesIO(path.read_bytes())))
        in_use = current.doc_rows_RK[np.isin(current.query_rows_R, self.rows_P)]
        always = np.union1d(self.positives.doc_rows_P, in_use[in_use >= 0])
        rows_S = chosen_rows(near_LC, always, len(self.job.data.corpus))
        now = mine_rows(
            vectors.queries(encoder, self.rows_P),
            vectors.part(encoder, rows_S),
            self.rows_P,
            self.job.data,
            self.positives,
            policy=self.job.config.mining,
            among=rows_S,
            refresh=step,  # the draws of sampling=random as they were
        )
        return overlap(current, now.negatives)

    def _path(self, step: int) -> Path:
        return negatives_path(self.job, step).with_suffix(".probe.npy")
