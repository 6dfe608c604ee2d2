"""A corpus as slabs on a device: views where it lies there, else copies that overlap with the work.

A corpus in host memory or a memory map goes through two pinned buffers: while the device works on
one slab, the host fills the other buffer and a second stream copies it.

Shape suffixes: N corpus rows, S rows of a slab, M chosen rows, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from whet_kernels.topk.exact import slices

DeviceVectors = torch.Tensor | np.ndarray
FLOATS = {
    np.dtype(np.float32): torch.float32,
    np.dtype(np.float16): torch.float16,
    torch.float32: torch.float32,
    torch.float16: torch.float16,
    torch.bfloat16: torch.bfloat16,
}


class Slab(NamedTuple):
    """Rows of the corpus on the device, `first` the place of the first of them in the corpus."""

    first: int
    vector_SD: torch.Tensor


def float_type(vectors: DeviceVectors) -> torch.dtype:
    """The type of the numbers; ValueError for one that is no float of 16 or 32 bits."""
    if vectors.dtype not in FLOATS:
        raise ValueError(f"vectors are {vectors.dtype}, must be float32, float16 or bfloat16")
    return FLOATS[vectors.dtype]


def lies_on(vectors: DeviceVectors, device: torch.device) -> bool:
    """Whether the device can read the vectors where they are."""
    return isinstance(vectors, torch.Tensor) and vectors.device == device


def slabs_of(
    corpus_ND: DeviceVectors, rows: int, device: torch.device, step: int = 1
) -> Iterator[Slab]:
    """Every `step`-th row of the corpus, `rows` at a time, in order; a slab is valid until the next
    is asked for.
    """
    count = -(-len(corpus_ND) // step)
    parts = [slice(span.start * step, span.stop * step, step) for span in slices(count, rows)]
    if device.type == "cuda" and not lies_on(corpus_ND, device):
        yield from _streamed(corpus_ND, parts, min(rows, count), device)
        return
    for part in parts:
        yield Slab(part.start, rows_on(corpus_ND, part, device))


def rows_on(vectors: DeviceVectors, rows: slice | np.ndarray, device: torch.device) -> torch.Tensor:
    """Some rows on the device, numbers of a row side by side; a view where that can be."""
    if isinstance(vectors, torch.Tensor):
        where = rows if isinstance(rows, slice) else torch.from_numpy(rows).to(vectors.device)
        part_SD = vectors[where]
    else:
        part_SD = torch.from_numpy(np.array(vectors[rows]))  # torch takes writable memory only
    part_SD = part_SD.to(device)
    return part_SD if part_SD.stride(1) == 1 else part_SD.contiguous()


def _streamed(
    corpus_ND: DeviceVectors, parts: list[slice], rows: int, device: torch.device
) -> Iterator[Slab]:
    shape, kind = (rows, corpus_ND.shape[1]), float_type(corpus_ND)
    pinned = [torch.empty(shape, dtype=kind, pin_memory=True) for _ in range(2)]
    landed = [torch.empty(shape, dtype=kind, device=device) for _ in range(2)]
    copied, used = ([torch.cuda.Event() for _ in range(2)] for _ in range(2))
    work, copying = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    copying.wait_stream(work)  # what the buffers' memory held before may still be in use
    for turn, part in enumerate(parts):
        side = turn % 2
        copied[side].synchronize()  # the pinned buffer is free
        height = _fill(pinned[side], corpus_ND, part)
        with torch.cuda.stream(copying):
            copying.wait_event(used[side])
            landed[side][:height].copy_(pinned[side][:height], non_blocking=True)
            copied[side].record(copying)
        work.wait_event(copied[side])
        yield Slab(part.start, landed[side][:height])
        used[side].record(work)


def _fill(pinned_SD: torch.Tensor, corpus_ND: DeviceVectors, part: slice) -> int:
    """Copy rows into a pinned buffer; gives their number."""
    piece = corpus_ND[part]
    if isinstance(piece, torch.Tensor):
        pinned_SD[: len(piece)].copy_(piece)
    else:
        np.copyto(pinned_SD.numpy()[: len(piece)], piece)
    return len(piece)
