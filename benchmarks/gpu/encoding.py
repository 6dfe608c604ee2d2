"""Texts to vectors on a GPU: texts per second, and the share of the device's rate.

Lengths differ, as those of real texts do: of "128 tokens" a text has 64 to 128. Only real tokens
count as work, padding does not.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import made
import numpy as np
import timing
import torch
from stages import Here

SHAPES = ("base", "minilm", "large")
TOKENS = (128, 512, 32)
SPREAD = 0.5
WORK = {"minilm": 1 << 20, "base": 1 << 20, "large": 1 << 19}  # tokens of a call
BATCHES = (64, 512)  # texts, of sentence-transformers: its better one counts
ROUNDS = 3
WAYS_APART = 0.05  # of unit vectors, both in 16 bits


def _cases(here: Here) -> list[tuple[str, int, int]]:
    """Shape, tokens and number of texts; what the goals ask for comes first."""
    if here.rehearsed:
        return [("tiny", 16, 12)]
    return [(shape, tokens, WORK[shape] // tokens) for tokens in TOKENS for shape in SHAPES]


def alone(here: Here) -> None:
    """End to end, from a list of texts and from a table; and the forward by itself."""
    from whet.config import EncodeConfig
    from whet.model.encoder import Encoder
    from whet.model.inference import encode_texts

    for shape, tokens, count in _cases(here):
        case = f"{shape} {tokens} tokens"
        encoder = Encoder.load(str(made.model(here.scratch, shape))).to("cuda")
        texts = made.texts_of(count, tokens, spread=SPREAD)
        began = time.perf_counter()
        ids = encoder.tokenize(texts, "document")
        lengths = [len(row) for row in ids]
        if tokens == TOKENS[0] or here.rehearsed:
            rate = sum(lengths) / (time.perf_counter() - began) / 1e6
            here.figure(f"{shape}, tokenizer, M tokens/s", rate)
        config = EncodeConfig()

        def whole(encoder: Any = encoder, texts: list[str] = texts) -> np.ndarray:
            return encode_texts(encoder, texts, "document", config)  # noqa: B023

        seconds = timing.by_clock(whole, here)
        here.figure(f"{case}, texts/s", count / seconds)
        _share(here, case, timing.forward_flops(encoder, lengths), seconds)
        if tokens == TOKENS[0] or here.rehearsed:
            _table(here, case, encoder, texts)
        _forward(here, case, encoder, tokens)
        del encoder
        torch.cuda.empty_cache()


def _share(here: Here, case: str, flops: float, seconds: float) -> None:
    share = timing.mfu(here, flops, seconds)
    if share is not None:
        here.figure(f"{case}, MFU", share)
    here.figure(f"{case}, TFLOP/s", flops / seconds / 1e12)


def _table(here: Here, case: str, encoder: Any, texts: list[str]) -> None:
    """A table goes to the store, tokenised in blocks beside the GPU: what fit and mine do."""
    import json

    import whet

    folder = here.scratch / f"table-{case.replace(' ', '-')}"
    made.data(folder, 10)  # queries and judgments are those of a small one
    small = folder / "data-10-24"
    lines = [json.dumps({"_id": f"c{n}", "title": "", "text": t}) for n, t in enumerate(texts)]
    (small / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    table = whet.load_dataset(str(small)).corpus
    torch.cuda.synchronize()
    began = time.perf_counter()
    whet.encode(encoder, table)
    seconds = time.perf_counter() - began
    here.figure(f"{case}, into the store, texts/s", len(texts) / seconds)


def _forward(here: Here, case: str, encoder: Any, tokens: int) -> None:
    """Batches of whole texts on the device, without padding and with a little, in bf16."""
    from whet.model.inference import GPU_BATCH_TOKENS

    texts = 4 if here.rehearsed else GPU_BATCH_TOKENS // tokens
    half = encoder.in_16_bits(torch.bfloat16).eval()
    ids = torch.randint(5, 900, (texts, tokens)).cuda()
    mask = torch.ones_like(ids)
    mask[:, -1] = 0
    flops = timing.forward_flops(encoder, [tokens] * texts)

    def run(full: bool) -> Callable[[], torch.Tensor]:
        def once() -> torch.Tensor:
            with torch.inference_mode():
                vector_BD: torch.Tensor = half(ids, mask, full=full)
                return vector_BD

        return once

    for name, full in (("forward", True), ("padded forward", False)):
        seconds = timing.on_device(run(full), here)
        share = timing.mfu(here, flops, seconds)
        if share is not None:
            here.figure(f"{case}, {name}, MFU", share)
        here.figure(f"{case}, {name}, TFLOP/s", flops / seconds / 1e12)


def ways(here: Here) -> None:
    """Texts with and without padding, as they are and compiled: vectors, and texts per second. What
    compiling takes once is a figure of its own.
    """
    from whet.config import EncodeConfig
    from whet.model.encoder import Encoder
    from whet.model.inference import encode_texts

    shapes = ("tiny",) if here.rehearsed else SHAPES
    compiled = (False,) if here.rehearsed else (False, True)
    for shape, tokens, count in [case for case in _cases(here) if case[0] in shapes][: len(shapes)]:
        encoder = Encoder.load(str(made.model(here.scratch, shape))).to("cuda")
        texts = made.texts_of(count, tokens, spread=SPREAD)
        lengths = [len(row) for row in encoder.tokenize(texts, "document")]
        vectors: list[np.ndarray] = []
        for padded, compile in itertools.product((True, False), compiled):
            name = f"{shape} {tokens} tokens, {'' if padded else 'un'}padded"
            name += ", compiled" * compile
            config = EncodeConfig(compile=compile)
            with timing.padding() if padded else nullcontext():
                began = time.perf_counter()
                vectors.append(encode_texts(encoder, texts, "document", config))
                if compile:
                    here.figure(f"{name}, seconds at first", time.perf_counter() - began)
                seconds = timing.by_clock(
                    lambda encoder=encoder, texts=texts, config=config: encode_texts(  # type: ignore[misc]
                        encoder, texts, "document", config
                    ),
                    here,
                )
            here.figure(f"{name}, texts/s", count / seconds)
            _share(here, name, timing.forward_flops(encoder, lengths), seconds)
            apart = float(np.linalg.norm(vectors[-1] - vectors[0], axis=1).max())
            if not apart < WAYS_APART:
                here.wrong(f"{name}: vectors are {apart:.2g} from those of padded texts")
        del encoder
        torch.cuda.empty_cache()


def beside_others(here: Here) -> None:
    """Whet and sentence-transformers in fp16, in turn, on the same texts and weights."""
    here.needs("sentence_transformers")
    attentions = ["sdpa"]
    if find_spec("flash_attn") and not here.rehearsed:
        attentions.append("flash_attention_2")
    else:
        here.note("FlashAttention 2 is left out: flash_attn is not installed")
    from whet.model.encoder import Encoder

    for shape, tokens, count in _cases(here):
        folder = made.model(here.scratch, shape)
        encoder = Encoder.load(str(folder)).to("cuda")
        texts = made.texts_of(count, tokens, spread=SPREAD)
        ways: dict[str, Callable[[], Any]] = {
            "whet": lambda encoder=encoder, texts=texts: encoder.encode(texts)  # type: ignore[misc]
        }
        for attention in attentions:
            for batch in BATCHES[: 1 if here.rehearsed else None]:
                try:
                    ways[f"{attention} {batch}"] = _theirs(folder, attention, batch, texts)
                except (ImportError, ValueError) as error:  # a model that has not this attention
                    here.note(f"{attention} is left out: {str(error)[:120]}")
        _compare(here, f"{shape} {tokens} tokens", ways, count)


def _theirs(folder: Path, attention: str, batch: int, texts: list[str]) -> Callable[[], Any]:
    from sentence_transformers import SentenceTransformer

    options = {"dtype": torch.float16, "attn_implementation": attention}
    model = SentenceTransformer(str(folder), device="cuda", model_kwargs=options)

    def run() -> Any:
        return model.encode(texts, batch_size=batch, show_progress_bar=False)

    return run


def _compare(here: Here, case: str, ways: dict[str, Callable[[], Any]], count: int) -> None:
    """Seconds of each way, by rounds in which they take turns; ratios are taken in a round."""
    vectors = {name: np.asarray(way(), np.float32) for name, way in ways.items()}
    for name, vector_ND in vectors.items():
        apart = float(np.linalg.norm(vector_ND - vectors["whet"], axis=1).max())
        if not apart < 0.1:  # two formats of 16 bits, and the same weights
            here.wrong(f"{case}: vectors of whet and of {name} are {apart:.2g} apart")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 if here.rehearsed else ROUNDS):
        for name, way in ways.items():
            torch.cuda.synchronize()
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    for name, each in seconds.items():
        here.figure(f"{case}, {name}, texts/s", count / statistics.median(each))
    for attention, said in (("sdpa", "fp16"), ("flash_attention_2", "fp16, FlashAttention 2")):
        rivals = [each for name, each in seconds.items() if name.startswith(attention)]
        if rivals:
            best = min(rivals, key=statistics.median)
            ratio = statistics.median(
                theirs / ours for theirs, ours in zip(best, seconds["whet"], strict=True)
            )
            here.figure(f"{case}, over sentence-transformers {said}", ratio)
