"""Which documents a job's mining looks at, where that is not the whole corpus."""

from __future__ import annotations

import numpy as np

from whet.evaluation.pool.choose import mined_among, read_part, write_part
from whet.processes.world import from_leader, together
from whet.run.job import Job


def documents_mined(job: Job) -> np.ndarray | None:
    """Rows of the corpus, ascending; None for all. Found once: the run folder keeps them, for a job
    that goes on and for who mines beside it.
    """
    if job.config.mining.scope == "all" or job.config.mining.num_negatives == 0:
        return None
    path = job.folder / "negatives" / "candidates.npy"

    def find() -> None:
        if path.exists():
            return
        rows_S = mined_among(job.data, job.learned, job.config.mining)
        assert rows_S is not None  # scope=all has returned
        path.parent.mkdir(exist_ok=True)
        write_part(path, rows_S)

    from_leader(find)
    return together(lambda: read_part(path, len(job.data.corpus)))
