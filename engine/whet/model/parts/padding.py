"""Tokenised texts as arrays: padded to one length, or one behind the other.

Shape suffixes: B texts, L tokens of the longest, T tokens of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

# Tokens: a mask of another width is copied into one of these in every layer's attention, and every
# width is a shape of its own, with memory of its own.
MULTIPLE = 8


def padded(
    tokens: Sequence[Sequence[int]], pad_id: int, *, most: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, int64 [B, L], of tokenised texts, padded on the right to the longest of them;
    where they differ in length to a multiple of 8 tokens beyond it, but not to more than `most`.

    >>> ids_BL, mask_BL = padded([[5, 6, 7], [8]], pad_id=0)
    >>> ids_BL.tolist(), mask_BL.tolist()
    ([[5, 6, 7], [8, 0, 0]], [[1, 1, 1], [1, 0, 0]])
    >>> [padded([[5, 6, 7], [8]], 0, most=most)[0].shape[1] for most in (512, 6, 2)]
    [8, 6, 3]
    """
    lengths_B = np.fromiter(map(len, tokens), np.int64, len(tokens))
    longest = int(lengths_B.max())
    if longest != lengths_B.min():  # texts of one length need no mask, which is faster still
        longest = max(longest, min(-(-longest // MULTIPLE) * MULTIPLE, most))
    inside_BL = np.arange(longest) < lengths_B[:, None]
    ids_BL = np.full(inside_BL.shape, pad_id, np.int64)
    ids_BL[inside_BL] = np.fromiter(chain.from_iterable(tokens), np.int64, lengths_B.sum())
    return ids_BL, inside_BL.astype(np.int64)


class Packed(NamedTuple):
    """Texts one behind the other, on the host."""

    ids_T: np.ndarray
    position_T: np.ndarray
    start_B1: np.ndarray  # int32: where each text begins, and the end of the last
    longest: int
    place_T: np.ndarray  # of each token in the padded [B * L]
    counted_BL: np.ndarray  # which tokens the pooling counts


def packed(tokens: Sequence[Sequence[int]], padding: int | None = None) -> Packed:
    """Tokenised texts without padding. An id below 0 is the complement of one that the pooling does
    not count. Positions of a text count from 0, or with `padding` as RoBERTa's: from behind it, and
    a token of that number has it as its position.

    >>> texts = packed([[5, ~6, 7], [8]])
    >>> texts.ids_T.tolist(), texts.position_T.tolist(), texts.start_B1.tolist()
    ([5, 6, 7, 8], [0, 1, 2, 0], [0, 3, 4])
    >>> texts.place_T.tolist(), texts.counted_BL.tolist()
    ([0, 1, 2, 3], [[1, 0, 1], [1, 0, 0]])
    >>> packed([[5, 1, 7], [8]], padding=1).position_T.tolist()
    [2, 1, 3, 2]
    """
    length_B = np.fromiter(map(len, tokens), np.int64, len(tokens))
    start_B1 = np.concatenate([[0], length_B.cumsum()])
    number_T = np.fromiter(chain.from_iterable(tokens), np.int64, start_B1[-1])
    ids_T = np.where(number_T < 0, ~number_T, number_T)
    real_T = np.ones(len(ids_T), np.int64) if padding is None else (ids_T != padding).astype(int)
    before_T1 = np.concatenate([[0], real_T.cumsum()])
    rank_T = before_T1[1:] - np.repeat(before_T1[start_B1[:-1]], length_B)  # in its text, from 1
    position_T = rank_T - 1 if padding is None else rank_T * real_T + padding
    longest = int(length_B.max())
    place_T = np.arange(len(ids_T)) + np.repeat(
        np.arange(len(length_B)) * longest - start_B1[:-1], length_B
    )
    counted_BL = np.zeros((len(length_B), longest), np.int64)
    counted_BL.ravel()[place_T] = number_T >= 0
    return Packed(ids_T, position_T, start_B1.astype(np.int32), longest, place_T, counted_BL)
