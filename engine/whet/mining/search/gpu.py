"""The kernel of whet_kernels on an NVIDIA GPU, with the corpus in its memory where it fits."""

from __future__ import annotations

from importlib.util import find_spec

from whet.mining.search.backend import FEW_PRODUCTS, Answer, Backend, Task


def _missing() -> str:
    import torch

    if not torch.cuda.is_available():
        return "a CUDA GPU and there is none"
    return "" if find_spec("triton") else "triton (pip install triton)"


def _suits(task: Task, k: int) -> tuple[bool, str]:
    missing = _missing()
    if missing:
        return False, missing.replace(" and", ",")
    rows = len(task.corpus_ND)
    if rows * task.query_QD.size < FEW_PRODUCTS:
        return False, f"{len(task.query_QD):,} queries times {rows:,} documents are few"
    return True, "there is a GPU"


def _run(task: Task, k: int) -> Answer:
    from whet_kernels.topk.search import fits_on_gpu, mine_topk

    corpus_ND = task.corpus_ND
    top = mine_topk(task.query_QD, corpus_ND, k, task.window, backend="gpu", hint_QC=task.hint_QC)
    return Answer(top, note="" if fits_on_gpu(corpus_ND) else "the corpus is streamed to the GPU")


gpu = Backend("gpu", missing=_missing, suits=_suits, run=_run)
