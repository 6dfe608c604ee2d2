"""The most device memory that a search, the loss, encoding and a training step take, as torch
counts it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import losses
import made
import mining
import torch
from stages import Here
from training_steps import Case, config_of, parts_of


def peaks(here: Here) -> None:
    """MiB beyond what was there before; for training, all that the process holds."""
    _search(here)
    for pairs in (48,) if here.rehearsed else (16_384, 65_536):
        for products in (torch.bfloat16, torch.float32):
            once = partial(losses.once, losses.vectors(pairs, 32 if here.rehearsed else 768))
            once(products)
            name = f"loss, {pairs:,} pairs, {str(products).removeprefix('torch.')}"
            here.figure(f"{name}, MiB", _beyond(partial(once, products)))
            del once
    _encode(here)
    _train(here)


def _beyond(run: Callable[[], Any]) -> float:
    """MiB at the peak of a call, beyond what was allocated before it."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _search(here: Here) -> None:
    """The corpus on the device, and streamed from memory of the host; answers go to the host."""
    from whet_kernels.topk.gpu.search import mine_topk_gpu

    query_QD, corpus_ND, window = mining.large(here, 32 if here.rehearsed else 768)
    for kind in ("on the device", "streamed"):
        corpus: Any = corpus_ND
        if kind == "streamed":
            corpus = corpus_ND.cpu().numpy()
            del corpus_ND

        def search(corpus: Any = corpus) -> Any:
            return mine_topk_gpu(query_QD, corpus, 8 if here.rehearsed else 64, window)

        search()  # the first call tunes the tiles, which takes memory
        here.figure(f"search, {kind}, MiB", _beyond(search))


def _encode(here: Here) -> None:
    from whet.model.encoder import Encoder

    shape = "tiny" if here.rehearsed else "base"
    encoder = Encoder.load(str(made.model(here.scratch, shape))).to("cuda")
    texts = made.texts_of(8 if here.rehearsed else 4096, 128, spread=0.5)
    encoder.encode(texts)
    here.figure(f"encode, {shape}, MiB", _beyond(lambda: encoder.encode(texts)))


def _train(here: Here) -> None:
    """A few steps, plain and cached."""
    from training import train_alone

    shape, pairs = ("tiny", 8) if here.rehearsed else ("base", 256)
    documents, tokens = (60, 12) if here.rehearsed else (2000, 128)
    data = made.data(here.scratch, documents, tokens=tokens)
    for cache in ("never", "always"):
        encoder, examples = parts_of(here, shape, data)
        config = config_of(Case("", shape, pairs, cache, 0), 3)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        with tempfile.TemporaryDirectory(dir=here.scratch) as folder:
            train_alone(encoder, examples, config, Path(folder))
        peak = torch.cuda.max_memory_allocated() / 2**20
        here.figure(f"train, {shape}, {pairs} pairs, cache {cache}, MiB in all", peak)
