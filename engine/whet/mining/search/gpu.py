"""The kernel of whet_kernels on an NVIDIA GPU, with the corpus in its memory where it fits."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from whet.mining.search.backend import Answer, Backend, Task
from whet_kernels.topk.window import reached_by_hints

SHARE = 0.5  # of the device's free memory that a corpus may take; a larger one is streamed


def _missing() -> str:
    import torch

    if not torch.cuda.is_available():
        return "a CUDA GPU and there is none"
    return "" if find_spec("triton") else "triton (pip install triton)"


def _suits(task: Task) -> tuple[bool, str]:
    missing = _missing()
    return (False, missing.replace(" and", ",")) if missing else (True, "there is a GPU")


def _run(task: Task) -> Answer:
    import torch

    from whet_kernels.topk.gpu.search import mine_topk_gpu

    corpus_ND: Any = task.corpus_ND
    note = ""
    if torch.cuda.is_available():
        if corpus_ND.nbytes < SHARE * torch.cuda.mem_get_info()[0]:
            corpus_ND = torch.from_numpy(np.ascontiguousarray(corpus_ND)).cuda()
        else:
            note = "the corpus is streamed to the GPU"
    sure_Q = reached_by_hints(task.query_QD, task.corpus_ND, task.k, task.window, task.hint_QC)
    top = mine_topk_gpu(
        task.query_QD, corpus_ND, task.k, task.window, warm_lo_Q=sure_Q.astype(np.float32)
    )
    return Answer(top, note=note)


gpu = Backend("gpu", missing=_missing, suits=_suits, run=_run)
