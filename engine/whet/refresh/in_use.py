"""The negatives that training uses: which they are, when they were mined, how others come."""

from __future__ import annotations

from whet.mining.report import overlap
from whet.model.encoder import Encoder
from whet.refresh import Refresher
from whet.run.negatives import stored_negatives
from whet.training.callbacks import Swap
from whet.types import Negatives


class JobNegatives:
    """What `whet.training.callbacks.NegativesInUse` asks for, by a refresher of the job.

    `negatives` are those of step 0 (None: none are mined before the training, or none at all), or
    of the step `mined_at` of a resumed training.
    """

    def __init__(self, refresher: Refresher, first: Negatives | None, mined_at: int) -> None:
        self.refresher = refresher
        self.mined_at = mined_at
        self.negatives = stored_negatives(refresher.job, mined_at) if mined_at else first

    def mine_again(self, step: int, encoder: Encoder) -> Swap:
        """Encode, mine and save with the weights of a step, and use what was found."""
        fresh = self.refresher.again(encoder, step, self.negatives)
        return Swap(self._use(fresh.mined.negatives, step), fresh.encoded_share)

    def share_still_chosen(self, encoder: Encoder) -> float:
        """Of a sample, the share of those in use that the encoder would choose again."""
        if self.negatives is None:
            return 0.0
        return self.refresher.overlap_now(encoder, self.mined_at, self.negatives)

    def take(self, step: int) -> Swap:
        """Use those that a miner beside the training has saved; it says itself what it encoded."""
        return Swap(self._use(stored_negatives(self.refresher.job, step), step), 0.0)

    def _use(self, negatives: Negatives, step: int) -> float:
        before, self.negatives, self.mined_at = self.negatives, negatives, step
        return 0.0 if before is None else overlap(before, negatives)
