"""Texts or pictures to vectors, fast: sorted by length, batched by tokens instead of by count.

Shape suffixes: N texts or pictures, D dimensions.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from whet.config import EncodeConfig
from whet.errors import ConfigError, EnvironmentRefused
from whet.model.activations import is_out_of_memory
from whet.printable import printable
from whet.processes.devices import PRECISIONS, casting, choose_device, choose_precision
from whet.progress import say
from whet.types import Item

if TYPE_CHECKING:
    from whet.model.encoder import Encoder

CPU_BATCH_TOKENS = (
    2048  # more falls out of the caches: measured 4,900 tokens/s at 1,024, 3,800 at 16,384
)
GPU_BATCH_TOKENS = 65_536
GPU_RESULTS = 32 << 20  # bytes of vectors that a GPU holds before they are fetched
NAMED = 5  # texts in a message


def token_batches(lengths: Sequence[int] | np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Positions of texts, longest first, in batches of at most `budget` tokens with padding (at
    least one text).

    >>> [batch.tolist() for batch in token_batches([2, 9, 4, 3], budget=9)]
    [[1], [2, 3], [0]]
    """
    lengths_N = np.asarray(lengths)
    order_N = np.argsort(-lengths_N, kind="stable")
    start = 0
    while start < len(order_N):
        size = max(1, budget // max(1, int(lengths_N[order_N[start]])))
        yield order_N[start : start + size]
        start += size


def encode_texts(
    encoder: Encoder,
    texts: Sequence[Item],
    kind: str,
    config: EncodeConfig,
    done: Callable[[int], None] = lambda count: None,
    *,
    ids: Callable[[int], str] | None = None,
) -> np.ndarray:
    """Vectors float32 [N, D]; `done` is told the number of texts whenever some are there.

    An encoder that is being trained goes back to that mode and to the device its optimizer knows.
    Raises ConfigError where a vector holds NaN or infinity, with the first texts by their `ids` (of
    a position, where they have some), and where the tokenizer does not know most of the words.
    """
    return encode_tokens(encoder, encoder.tokenize(texts, kind), config, done, ids=ids)


def encode_tokens(
    encoder: Encoder,
    tokens: Sequence[Any],
    config: EncodeConfig,
    done: Callable[[int], None] = lambda count: None,
    *,
    ids: Callable[[int], str] | None = None,
) -> np.ndarray:
    """`encode_texts` of what `encoder.tokenize` has cut, perhaps in another thread."""
    device = choose_device(config)
    precision = choose_precision(config, device)
    budget = config.batch_tokens or (CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS)
    encoder.reader.check_known(tokens)
    was_training, home = encoder.training, encoder.device
    # Once, before any batch: a NaN weight need not show in every vector.
    odd = encoder.odd_tensor()
    encoder.to(device).eval()
    vector_ND = np.empty((len(tokens), encoder.dimension), np.float32)

    def take(rows: np.ndarray, vector_BD: Tensor) -> None:
        vector_ND[rows] = vector_BD.float().cpu().numpy()
        if odd or not np.isfinite(vector_ND[rows]).all():
            raise _not_finite(encoder, vector_ND, rows, precision, ids)
        done(len(rows))

    try:
        with torch.inference_mode(), _as_asked(encoder, config, device) as forward:
            made = _forwards(forward, tokens, budget)
            for rows, vector_BD in _gathered(made, GPU_RESULTS if device.type == "cuda" else 0):
                take(rows, vector_BD)
    finally:
        if was_training:
            encoder.to(home).train()
    return vector_ND


def _forwards(
    forward: Callable[[Sequence[Any]], Tensor],
    tokens: Sequence[Sized],
    budget: int,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """The batches of `token_batches` with their vectors; from one that memory does not hold
    on, batches of half its tokens. EnvironmentRefused where one text does not fit.
    """
    lengths_N = np.array([len(row) for row in tokens])
    batches = deque(token_batches(lengths_N, budget))
    while batches:
        rows = batches.popleft()
        size = len(rows) * int(lengths_N[rows].max())
        try:
            vector_BD = forward([tokens[row] for row in rows])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                _refuse_not_compiled(error)
                raise
            if len(rows) == 1:
                raise EnvironmentRefused(
                    f"A text of {size:,} tokens, or a picture that counts as so many, does not fit "
                    "in memory. Cut texts with model.max_length, pictures with model.image_size."
                ) from error
        else:
            yield rows, vector_BD
            continue
        # Out here: what failed is held by the error until its block ends.
        torch.cuda.empty_cache()
        say(
            f"{size:,} tokens do not fit in memory at once: {size // 2:,} from here on "
            f"(encode.batch_tokens={size // 2} takes so many from the start)."
        )
        left_N = np.concatenate([rows, *batches])
        parts = token_batches(lengths_N[left_N], size // 2)
        batches = deque(left_N[part] for part in parts)


@contextmanager
def _as_asked(
    encoder: Encoder, config: EncodeConfig, device: torch.device
) -> Iterator[Callable[[Sequence[Any]], Tensor]]:
    """The encoder's forward, in the precision, and compiled where that is asked for.

    A GPU gets the weights in 16 bits: to cast them in every forward, and to carry what lies between
    the products in 32 bits, would cost it as much as the products. A CPU casts.
    """
    precision = choose_precision(config, device)
    if device.type == "cuda" and precision != "fp32":
        encoder, precision = encoder.in_16_bits(PRECISIONS[precision]), "fp32"  # nothing is cast
    if config.compile:
        encoder = encoder.compiled()
    with casting(device, precision):
        yield encoder.forward_tokens


def _refuse_not_compiled(error: BaseException) -> None:
    """EnvironmentRefused where torch.compile, and not what it compiles, has failed."""
    compiler: Any = sys.modules.get("torch._dynamo.exc")  # there where anything was compiled
    if compiler is not None and isinstance(error, compiler.TorchDynamoException):
        reason = printable(" ".join(str(error).splitlines()[:2]))  # who failed, and how
        raise EnvironmentRefused(
            f"encode.compile=true: torch cannot compile the transformer here ({reason}). Leave it "
            "out."
        ) from error


def _gathered(
    batches: Iterable[tuple[np.ndarray, Tensor]], most_bytes: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Several batches' vectors as one, of so many bytes at most: to fetch a result the host waits
    for the GPU, and a GPU that is not told what comes next waits for the host.
    """
    rows: list[np.ndarray] = []
    parts: list[Tensor] = []
    size = 0
    for some, vector_BD in batches:
        rows.append(some)
        parts.append(vector_BD)
        size += vector_BD.numel() * vector_BD.element_size()
        if size > most_bytes:
            yield np.concatenate(rows), torch.cat(parts)
            rows, parts, size = [], [], 0
    if rows:
        yield np.concatenate(rows), torch.cat(parts)


def _not_finite(
    encoder: Encoder,
    vector_ND: np.ndarray,
    rows: np.ndarray,
    precision: str,
    ids: Callable[[int], str] | None,
) -> ConfigError:
    odd = encoder.odd_tensor()
    bad = np.sort(rows if odd else rows[~np.isfinite(vector_ND[rows]).all(axis=1)])
    names = [printable(repr(ids(int(row)))) if ids else f"text {row}" for row in bad[:NAMED]]
    remedy = "Check its weights for NaN and infinity."
    if odd:
        remedy = f"Its weights hold some, first in {printable(odd)}: fetch it again."
    elif precision == "fp16":
        remedy = f"Numbers above 65,504 overflow in fp16: try encode.precision=fp32. {remedy}"
    return ConfigError(
        f"The vectors of {', '.join(names)}{', ...' if len(bad) > NAMED else ''} hold NaN or "
        f"infinity ({len(bad):,} of {len(rows):,} texts of a batch), by the model "
        f"{printable(encoder.source)} with the fingerprint {encoder.fingerprint()[:16]}. Nothing "
        f"of them is kept. {remedy}"
    )
