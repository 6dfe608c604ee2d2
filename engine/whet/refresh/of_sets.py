"""Mining for several data sets: in each one's own corpus, as for it alone; the results as one.

Shape suffixes: R rows of negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from whet.data.joined import starts_of
from whet.mining.miner import Mined
from whet.mining.report import MiningReport, score_table
from whet.mining.search.gpu import corpus_kept
from whet.model.encoder import Encoder, weights_unchanged
from whet.processes.world import from_leader
from whet.refresh import Fresh, Refresher, share_encoded
from whet.refresh.scopes import Refreshed
from whet.report.mining import write_mining_reports
from whet.run.job import Job
from whet.run.negatives import REPORT, write_file
from whet.types import Negatives


class SetsRefresher(Refresher):
    """A refresher of a job with several data sets."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.verdict = None
        self.parts = [Refresher(part) for part in job.sets]
        self.query_S1, self.doc_S1 = starts_of(job.data.queries), starts_of(job.data.corpus)

    @weights_unchanged()
    def first(self, encoder: Encoder) -> Mined:
        """The negatives of step 0, in the run folder when this returns."""
        found = []
        for part in self.parts:
            with corpus_kept():
                found.append(part.find_first(encoder))
        return self._kept(found, encoder, 0)

    @weights_unchanged()
    def start(self, encoder: Encoder) -> None:
        """Keep what later refreshes need of the model before training."""
        for part in self.parts:
            part.start(encoder)

    @weights_unchanged()
    def again(self, encoder: Encoder, step: int, previous: Negatives | None) -> Fresh:
        """The negatives of a later step, in the run folder when this returns."""
        found = []
        for place, part in enumerate(self.parts):
            before = None if previous is None else self._of_set(previous, place)
            with corpus_kept():
                found.append(part.find_again(encoder, step, before))
            part.clear()
        mined = self._kept(found, encoder, step)
        return Fresh(mined, share_encoded(self.job, sum(one.encoded for one in found)))

    def clear(self) -> None:
        """Forget the vectors of weights that have changed since."""
        for part in self.parts:
            part.clear()

    def _of_set(self, negatives: Negatives, place: int) -> Negatives:
        """Those of one set, by its own rows."""
        first, last = np.searchsorted(negatives.query_rows_R, self.query_S1[place : place + 2])
        doc_rows_RK = negatives.doc_rows_RK[first:last]
        return Negatives(
            negatives.query_rows_R[first:last] - self.query_S1[place],
            np.where(doc_rows_RK >= 0, doc_rows_RK - self.doc_S1[place], -1),
            negatives.scores_RK[first:last],
            negatives.ranks_RK[first:last],
            negatives.positive_scores_R[first:last],
        )

    def _kept(self, found: Sequence[Refreshed], encoder: Encoder, step: int) -> Mined:
        """All sets' negatives as one file of the run folder, and the report of each."""
        minings = [one.mined for one in found]
        negatives = self._joined([one.negatives for one in minings])
        mined = Mined(negatives, self._summed([one.report for one in minings], negatives))
        write_file(self.job, mined, encoder, step)
        sets = {
            part.job.data.name: (one, part.job.data)
            for part, one in zip(self.parts, minings, strict=True)
        }
        from_leader(lambda: write_mining_reports(self.job.folder / REPORT, sets))
        return mined

    def _joined(self, each: Sequence[Negatives]) -> Negatives:
        starts = zip(each, self.query_S1.tolist(), self.doc_S1.tolist(), strict=False)
        moved = [
            replace(
                one,
                query_rows_R=one.query_rows_R + query,
                doc_rows_RK=np.where(one.doc_rows_RK >= 0, one.doc_rows_RK + doc, -1),
            )
            for one, query, doc in starts
        ]
        return Negatives(
            np.concatenate([one.query_rows_R for one in moved]),
            np.concatenate([one.doc_rows_RK for one in moved]),
            np.concatenate([one.scores_RK for one in moved]),
            np.concatenate([one.ranks_RK for one in moved]),
            np.concatenate([one.positive_scores_R for one in moved]),
        )

    def _summed(self, reports: Sequence[MiningReport], negatives: Negatives) -> MiningReport:
        """The numbers of all sets together, without rows to read. The documents of the other sets
        count as not proposed.
        """
        documents, first = len(self.job.data.corpus), reports[0]
        # each as mined in a part of all documents
        whole = [
            one.of_part(np.arange(doc, doc + one.documents), documents).renumbered(
                np.arange(query, query + len(part.job.data.queries))
            )
            for one, part, query, doc in zip(
                reports, self.parts, self.query_S1.tolist(), self.doc_S1.tolist(), strict=False
            )
        ]
        counts = "queries rows negatives without_positives dropped_rows filled seconds".split()
        lists = "query_rows query_ids excluded above below unproposed allowed short".split()
        totals = {name: sum(getattr(one, name) for one in reports) for name in counts}
        joined: dict[str, Any] = {
            name: [v for one in whole for v in getattr(one, name)] for name in lists
        }
        return replace(
            first,
            **totals,
            **joined,
            documents=documents,
            among=None if first.among is None else sum(one.among or 0 for one in reports),
            rank_counts=np.sum([one.rank_counts for one in reports], axis=0).tolist(),
            gap_counts=np.sum([one.gap_counts for one in reports], axis=0).tolist(),
            scores=score_table(negatives),
            sample=[],
        )


def refresher_of(job: Job) -> Refresher:
    """Who mines for a job."""
    return SetsRefresher(job) if job.sets else Refresher(job)
