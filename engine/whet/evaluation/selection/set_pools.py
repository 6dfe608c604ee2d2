"""Dev pools of several data sets, as one in which each set counts alike (`balanced`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whet.evaluation.measures import balanced
from whet.evaluation.selection.pool import DevPool, PoolJudge
from whet.model.encoder import Encoder
from whet.model.towers import Towers


@dataclass(frozen=True)
class PoolJudges:
    """Scores models on the pool of each data set."""

    each: Mapping[str, PoolJudge]

    @property
    def pool(self) -> DevPool:
        """All pools, for their sizes: rows are those of each one's set."""
        pools = [one.pool for one in self.each.values()]
        return DevPool(
            np.concatenate([pool.query_rows_Q for pool in pools]),
            np.concatenate([pool.doc_rows_N for pool in pools]),
        )

    def stored(self, encoder: Encoder, stores: Mapping[str, Path]) -> dict[str, float]:
        """Scores of a model whose vectors lie in the stores; what does not is encoded."""
        return balanced(
            {name: one.stored(encoder, stores[name]) for name, one in self.each.items()}
        )

    def judged(self, model: Encoder | Towers) -> dict[str, float]:
        """Scores of a model as it is; every process of the job calls it."""
        return balanced({name: one.judged(model) for name, one in self.each.items()})
