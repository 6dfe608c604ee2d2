"""Seconds of a device, and the work that was done in them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import torch
from stages import Here

Run = Callable[[], Any]

# Dense 16-bit FLOP/s of the data sheets, with float32 sums. What a name here begins with or has in
# it is meant; the first that fits counts.
DATA_SHEET = {
    "B300": 2250e12,
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "GH200": 989e12,
    "A100": 312e12,
    "A10G": 70e12,
    "A10": 125e12,
    "A30": 165e12,
    "A40": 150e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "V100": 125e12,  # fp16: it has no bf16
    "T4": 65e12,  # fp16, too
}


def peak_of(device: str) -> float | None:
    """Dense 16-bit FLOP/s that a device's data sheet names; None for one that is not listed.

    >>> peak_of("NVIDIA H200") == 989e12, peak_of("NVIDIA GeForce GT 1030")
    (True, None)
    """
    return next((peak for name, peak in DATA_SHEET.items() if name in device), None)


def on_device(run: Run, here: Here, *, times: int = 9) -> float:
    """Seconds between two events around a call, the median of some, after three to warm up."""
    for _ in range(1 if here.rehearsed else 3):
        run()
    found = []
    for _ in range(1 if here.rehearsed else times):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end) / 1e3)
    return float(statistics.median(found))


def by_clock(run: Run, here: Here, *, times: int = 3) -> float:
    """Seconds on the wall until the device is done, the median of some calls, after one to warm
    up.
    """
    run()
    found = []
    for _ in range(1 if here.rehearsed else times):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return float(statistics.median(found))


def padding() -> AbstractContextManager[object]:
    """A block in which texts are padded, whatever the model."""
    return mock.patch("whet.model.encoder.unpads", return_value=False)


def forward_flops(encoder: Any, lengths: list[int]) -> float:
    """Floating-point operations of the forward of texts of so many tokens, without padding: two per
    weight and token, embeddings apart, and four per pair of tokens, layer and hidden unit for the
    attention. A training step has three times as many; GradCache's second forward is no work that
    counts.
    """
    config = encoder.backbone.config
    weights = sum(
        part.numel()
        for name, part in encoder.backbone.named_parameters()
        if part.ndim > 1 and "embeddings" not in name and "pooler" not in name
    )
    pairs = sum(length**2 for length in lengths)
    attention = 4 * config.num_hidden_layers * config.hidden_size * pairs
    return float(2 * weights * sum(lengths) + attention)


def mfu(here: Here, flops: float, seconds: float) -> float | None:
    """The share of the device's peak; None where that is not known."""
    return flops / seconds / here.peak if here.peak else None
