"""One vector of a text's token vectors: against loops in float64, and what padding may not do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.model.pooling import POOLINGS, SMALLEST_NORM, pooled, to_unit_length

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)  # tokens of each text
each_pooling = pytest.mark.parametrize("pooling", POOLINGS)


def padded(lengths: list[int], seed: int, extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random token vectors [B, L, 3] with large numbers where the padding is, and their mask."""
    rng = np.random.default_rng(seed)
    longest = max(lengths) + extra
    token_BLD = rng.normal(size=(len(lengths), longest, 3)).astype(np.float32)
    mask_BL = np.arange(longest) < np.array(lengths)[:, None]
    token_BLD[~mask_BL] = 1e4 * (1 + rng.random(3).astype(np.float32))
    return torch.from_numpy(token_BLD), torch.from_numpy(mask_BL.astype(np.int64))


def by_hand(pooling: str, token_LD: np.ndarray) -> np.ndarray:
    """The vector of one text's real tokens, in float64."""
    token_LD = token_LD.astype(np.float64)
    total_D, count = sum(token_LD), len(token_LD)
    by_place_D = sum(place * row_D for place, row_D in enumerate(token_LD, 1))
    return {
        "mean": total_D / count,
        "mean_sqrt_len": total_D / count**0.5,
        "weightedmean": by_place_D / (count * (count + 1) / 2),
        "max": token_LD.max(0),
        "cls": token_LD[0],
        "last": token_LD[-1],
    }[pooling]


@each_pooling
@settings(deadline=None, max_examples=40)
@given(LENGTHS, st.integers(0, 2**31))
def test_real_tokens_alone_make_the_vector(pooling: str, lengths: list[int], seed: int) -> None:
    token_BLD, mask_BL = padded(lengths, seed)
    found_BD = POOLINGS[pooling](token_BLD, mask_BL).numpy()
    for row, length in enumerate(lengths):
        wanted_D = by_hand(pooling, token_BLD[row, :length].numpy())
        assert np.abs(found_BD[row] - wanted_D).max() < 1e-5


@each_pooling
@settings(deadline=None, max_examples=20)
@given(LENGTHS, st.integers(0, 2**31), st.integers(1, 9))
def test_longer_companions_change_nothing(
    pooling: str, lengths: list[int], seed: int, extra: int
) -> None:
    token_BLD, mask_BL = padded(lengths, seed)
    wide_BLD, wide_BL = padded(lengths, seed + 1, extra)
    wide_BLD[:, : max(lengths)] = token_BLD
    narrow, wide = POOLINGS[pooling](token_BLD, mask_BL), POOLINGS[pooling](wide_BLD, wide_BL)
    assert torch.allclose(narrow, wide, atol=1e-6)


@each_pooling
def test_padding_gets_no_gradient(pooling: str) -> None:
    token_BLD, mask_BL = padded([2, 5, 1], seed=3)
    token_BLD.requires_grad_()
    POOLINGS[pooling](token_BLD, mask_BL).sum().backward()
    assert token_BLD.grad is not None
    moved_BL = token_BLD.grad.abs().sum(-1) > 0
    assert not (moved_BL & (mask_BL == 0)).any()
    if pooling == "max":  # each dimension from a token of its own
        assert (moved_BL.sum(1) >= 1).all()
    else:
        one = pooling in ("cls", "last")
        assert moved_BL.sum(1).tolist() == ([1, 1, 1] if one else [2, 5, 1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@each_pooling
def test_the_kind_of_number_stays(pooling: str, dtype: torch.dtype) -> None:
    token_BLD, mask_BL = padded([2, 3], seed=0)
    assert POOLINGS[pooling](token_BLD.to(dtype), mask_BL).dtype == dtype


def test_a_text_of_no_tokens_is_no_division_by_zero() -> None:
    token_BLD, mask_BL = torch.arange(12.0).view(1, 4, 3), torch.zeros(1, 4, dtype=torch.long)
    assert POOLINGS["mean"](token_BLD, mask_BL).tolist() == [[0, 0, 0]]
    assert POOLINGS["last"](token_BLD, mask_BL).tolist() == [[0, 1, 2]]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**31), st.floats(1e-3, 1e6))
def test_unit_length_is_division_by_the_norm(rows: int, dims: int, seed: int, size: float) -> None:
    vector_BD = np.random.default_rng(seed).normal(size=(rows, dims)) * size
    norm_B1 = np.sqrt((vector_BD**2).sum(1, keepdims=True))
    vector_BD[norm_B1[:, 0] < 2 * SMALLEST_NORM] = 1.0
    wanted_BD = vector_BD / np.sqrt((vector_BD**2).sum(1, keepdims=True))
    found_BD = to_unit_length(torch.from_numpy(vector_BD.astype(np.float32)))
    assert np.abs(found_BD.numpy() - wanted_BD).max() < 1e-6
    assert torch.allclose(to_unit_length(found_BD), found_BD, atol=1e-6)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([0.0, 0.0], 0.0),
        ([SMALLEST_NORM, 0.0], 0.0),
        ([float("inf"), 1.0], float("nan")),
        ([3e38, 3e38], float("nan")),  # finite numbers of an infinite length
        ([float("nan"), 1.0], float("nan")),
    ],
)
def test_a_row_without_a_direction_is_all_zero_or_all_nan(row: list[float], told: float) -> None:
    """And its neighbours are as they would be without it."""
    found = to_unit_length(torch.tensor([row, [3.0, 4.0]]))
    assert np.array_equal(found[0].numpy(), np.full(2, told, np.float32), equal_nan=True)
    assert torch.allclose(found[1], torch.tensor([0.6, 0.8]))


def test_gradients_of_a_unit_vector_do_not_change_its_length() -> None:
    """(I - u u^T) / |v| times what comes from above, in float64."""
    rng = np.random.default_rng(5)
    vector_BD, above_BD = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    given_BD = torch.from_numpy(vector_BD).requires_grad_()
    (to_unit_length(given_BD) * torch.from_numpy(above_BD)).sum().backward()
    norm_B1 = np.linalg.norm(vector_BD, axis=1, keepdims=True)
    unit_BD = vector_BD / norm_B1
    wanted_BD = (above_BD - unit_BD * (unit_BD * above_BD).sum(1, keepdims=True)) / norm_B1
    assert given_BD.grad is not None
    assert np.abs(given_BD.grad.numpy() - wanted_BD).max() < 1e-12


@each_pooling
def test_a_prompt_on_the_left_may_count_for_nothing(pooling: str) -> None:
    """The others pool as if it were not there; weights by place go on where it ended."""
    token_BLD, mask_BL = padded([3, 6], seed=8)
    without_BL = mask_BL.clone()
    without_BL[:, :2] = 0
    found_BD = pooled(token_BLD, without_BL, pooling, prompt=False).numpy()
    for row, length in enumerate([3, 6]):
        token_LD = token_BLD[row, 2:length].numpy()
        wanted_D = by_hand(pooling, token_LD)
        if pooling == "weightedmean":
            place_L = np.arange(3, length + 1)
            wanted_D = place_L @ token_LD / place_L.sum()
        assert np.abs(found_BD[row] - wanted_D).max() < 1e-5


def test_several_poolings_are_joined_in_their_order() -> None:
    token_BLD, mask_BL = padded([3, 6], seed=9)
    parts = [POOLINGS[name](token_BLD, mask_BL) for name in ("last", "cls", "mean")]
    assert torch.equal(pooled(token_BLD, mask_BL, "last+cls+mean"), torch.cat(parts, 1))
