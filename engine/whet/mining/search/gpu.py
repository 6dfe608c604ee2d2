"""The kernel of whet_kernels on an NVIDIA GPU, with the corpus in its memory where it fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whet.mining.search.backend import FEW_PRODUCTS, Answer, Backend, Rescanned, Task

if TYPE_CHECKING:
    from torch import Tensor


class _Copy(NamedTuple):
    """A corpus in memory of the host, and the same on the GPU."""

    corpus_ND: np.ndarray
    device_ND: Tensor


_copies: ContextVar[list[_Copy] | None] = ContextVar("copies", default=None)


@contextmanager
def corpus_kept() -> Iterator[None]:
    """Searches of the block send a corpus to the GPU once, where it fits, instead of at each
    search; at its end the GPU's copy goes. The vectors must not change within the block.

    A block within another begins with nothing, and what it keeps ends with it.
    """
    before = _copies.set([])
    try:
        yield
    finally:
        _copies.reset(before)


def _on_gpu(corpus_ND: np.ndarray) -> Tensor | None:
    """The corpus on the GPU, of this search or one before; None for one to be streamed."""
    import torch

    from whet_kernels.topk.search import fits_on_gpu

    copies = _copies.get()
    for copy in copies or []:
        if copy.corpus_ND is corpus_ND:
            return copy.device_ND
    if copies:
        copies.clear()  # one at a time, and before the next is asked whether it fits
    if not fits_on_gpu(corpus_ND):
        return None
    device_ND = torch.from_numpy(np.ascontiguousarray(corpus_ND)).cuda()
    if copies is not None:
        copies.append(_Copy(corpus_ND, device_ND))
    return device_ND


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
    from whet_kernels.topk.search import mine_topk

    device_ND = _on_gpu(task.corpus_ND)
    corpus_ND = task.corpus_ND if device_ND is None else device_ND
    again = Rescanned()
    top = mine_topk(
        task.query_QD,
        corpus_ND,
        k,
        task.window,
        backend="gpu",
        hint_QC=task.hint_QC,
        rescanned=again.add,
    )
    streamed = "the corpus is streamed to the GPU" if device_ND is None else ""
    return Answer(top, note="; ".join(filter(None, (streamed, again.note(len(task.query_QD))))))


gpu = Backend("gpu", missing=_missing, suits=_suits, run=_run)
