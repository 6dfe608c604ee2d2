"""Torch's FlashAttention operators on a CPU, which builds without CUDA have by name alone: by plain
products in float32, text by text, with dropout drawn again in the backward by the seed that the
forward gives. Schema, arguments and what autograd makes of them are torch's own; the kernel is not.
Refuses what CUDA's refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


class Given(NamedTuple):
    """How the tokens of a text see each other."""

    scale: float
    left: int  # tokens that one sees before it, and after it; -1 for all
    right: int
    dropout: float
    drawn: torch.Generator

    @classmethod
    def of(
        cls, query: Tensor, dropout: float, causal: bool, seed: int, options: dict[str, Any]
    ) -> Given:
        """As the operators have it in their arguments."""
        scale = options.get("scale")
        left, right = (options.get(f"window_size_{side}") for side in ("left", "right"))
        return cls(
            query.shape[-1] ** -0.5 if scale is None else scale,
            -1 if left is None else left,
            0 if causal else -1 if right is None else right,
            dropout,
            torch.Generator().manual_seed(seed),
        )

    def shares(self, query_HLD: Tensor, key_HLD: Tensor) -> tuple[Tensor, Tensor]:
        """Of each token in each token's vector, [H, L, L], and what dropout multiplies them by."""
        score_HLL = query_HLD @ key_HLD.transpose(1, 2) * self.scale
        place_L = torch.arange(query_HLD.shape[1])
        ahead_LL = place_L[None] - place_L[:, None]
        left, right = (side if side >= 0 else len(place_L) for side in (self.left, self.right))
        seen_LL = (ahead_LL >= -left) & (ahead_LL <= right)
        share_HLL = score_HLL.masked_fill(~seen_LL, -torch.inf).softmax(-1)
        kept_HLL = torch.ones_like(share_HLL)
        if self.dropout:
            number_HLL = torch.rand(share_HLL.shape, generator=self.drawn)
            kept_HLL = (number_HLL >= self.dropout).float() / (1 - self.dropout)
        return share_HLL, kept_HLL


def _texts(parts: tuple[Tensor, ...], starts: Tensor) -> Iterator[list[Tensor]]:
    """Each text's part of each, [H, L, D] float32; keys and values for each head of the queries."""
    heads = parts[0].shape[1]
    for begin, end in pairwise(starts.tolist()):
        text = [part[begin:end].transpose(0, 1).float() for part in parts]
        yield [part.repeat_interleave(heads // len(part), 0) for part in text]


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    key_starts: Tensor,
    longest: int,
    longest_key: int,
    dropout: float,
    causal: bool,
    debug: bool,
    **options: Any,
) -> tuple[Tensor, ...]:
    if query.dtype not in HALF or not query.dtype == key.dtype == value.dtype:
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    if starts.dtype != torch.int32 or not torch.equal(starts, key_starts):
        raise RuntimeError("cu_seqlens_q must have dtype int32, and here be those of the keys")
    if query.shape[-1] % 8 or query.shape[-1] > 256:
        raise RuntimeError("head_size should be a multiple of 8, and at most 256")
    if longest != longest_key or longest != int(starts.diff().max()) or starts[-1] != len(query):
        raise RuntimeError("the longest text, or the end of the last, is another")
    seed = int(torch.randint(1 << 31, ())) if dropout else 0
    given = Given.of(query, dropout, causal, seed, options)
    vectors = []
    for query_HLD, key_HLD, value_HLD in _texts((query, key, value), starts):
        share_HLL, kept_HLL = given.shares(query_HLD, key_HLD)
        vectors.append((share_HLL * kept_HLL @ value_HLD).transpose(0, 1))
    state, unused = torch.tensor([seed, 0]).to(torch.uint64), torch.zeros((), dtype=torch.uint64)
    rows = torch.zeros(query.shape[1], len(query))
    return torch.cat(vectors).to(query.dtype), rows, state, unused, query.new_empty(0)


def _backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    found: Tensor,
    rows: Tensor,
    starts: Tensor,
    key_starts: Tensor,
    longest: int,
    longest_key: int,
    dropout: float,
    causal: bool,
    state: Tensor,
    unused: Tensor,
    **options: Any,
) -> tuple[Tensor, ...]:
    given = Given.of(query, dropout, causal, int(state[0].to(torch.int64)), options)
    made: list[list[Tensor]] = []
    for text in _texts((query, key, value, gradient), starts):
        query_HLD, key_HLD, value_HLD, gradient_HLD = text
        share_HLL, kept_HLL = given.shares(query_HLD, key_HLD)
        by_share_HLL = gradient_HLD @ value_HLD.transpose(1, 2) * kept_HLL
        by_score_HLL = share_HLL * (by_share_HLL - (by_share_HLL * share_HLL).sum(-1, True))
        by_score_HLL = by_score_HLL * given.scale
        of_query = by_score_HLL @ key_HLD
        of_key = by_score_HLL.transpose(1, 2) @ query_HLD
        of_value = (share_HLL * kept_HLL).transpose(1, 2) @ gradient_HLD
        made.append([_grouped(of_query, query), _grouped(of_key, key), _grouped(of_value, value)])
    return tuple(torch.cat(parts).to(query.dtype) for parts in zip(*made, strict=True))


def _grouped(gradient_HLD: Tensor, of: Tensor) -> Tensor:
    """[L, H, D], added up over the queries' heads that share one of theirs."""
    length, size = gradient_HLD.shape[1:]
    return gradient_HLD.view(of.shape[1], -1, length, size).sum(1).transpose(0, 1)


@contextmanager
def flash_on_host() -> Iterator[None]:
    """In the block torch has these operators on a CPU."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", _forward, "CPU")
    library.impl("_flash_attention_backward", _backward, "CPU")
    try:
        yield
    finally:
        library._destroy()
