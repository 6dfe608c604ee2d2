"""What a slab of a search costs on a GPU that is not there."""

from __future__ import annotations

import numpy as np
import torch
from pretend_cuda import Gpu

from whet_kernels.topk.gpu.one_pass import GpuTiling
from whet_kernels.topk.gpu.search import mine_topk_gpu
from whet_kernels.topk.reference import mine_topk_reference
from whet_kernels.topk.window import window_of

QUERIES, ROWS_A_SLAB = 8, 128
LAUNCHES_A_SLAB = 6  # round, edges, band, list, score, admit


def test_a_slab_costs_six_launches_and_no_wait(gpu: Gpu) -> None:
    """From 5 to 7 slabs nothing else is added: the kept are cut to the best after 4 and 8."""
    rng = np.random.default_rng(0)
    query_QD = rng.standard_normal((QUERIES, 32)).astype(np.float32)
    corpus_ND = rng.standard_normal((7 * ROWS_A_SLAB, 32)).astype(np.float32)
    # No sample is looked at: it is too small to prove a bound, and one is given.
    cut = GpuTiling(queries=64, rows=ROWS_A_SLAB, hits=64, kept=96, sample=8)
    ceiling_Q = mine_topk_reference(query_QD, corpus_ND, 3).scores_Qk[:, 2].copy()
    # The first moves what is kept from then on.
    for slabs, name in ((1, "before"), (5, "5 slabs"), (7, "7 slabs")):
        part = corpus_ND[: slabs * ROWS_A_SLAB]
        window = window_of(QUERIES, len(part), ceiling_Q=ceiling_Q)
        expected = mine_topk_reference(query_QD, part, 9, window)
        there, warm_Q = torch.from_numpy(part).cuda(), expected.scores_Qk[:, 8]
        with gpu.during(name):
            found = mine_topk_gpu(query_QD, there, 9, window, tiling=cut, warm_lo_Q=warm_Q)
        assert np.array_equal(found.rows_Qk, expected.rows_Qk)
    assert gpu.launches("7 slabs") - gpu.launches("5 slabs") <= 2 * LAUNCHES_A_SLAB, gpu.launched
    assert gpu.waits("7 slabs") == gpu.waits("5 slabs"), gpu.report()
