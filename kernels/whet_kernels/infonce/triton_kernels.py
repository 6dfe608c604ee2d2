"""The two passes of the fused loss as Triton kernels; imported when they are first used.

`negatives`: a program holds BLOCK_R rows, walks the columns in blocks, and keeps a running maximum
and sum per row (base 2, where the hardware's exponential is). Masked cells: every row has a cursor
into its ascending list of masked columns; a block with none of them (nearly all) costs one scalar
load, others as many comparisons of the block as the fullest row has cells in it.

`weights`: one block of e^(s - level) per program. The products of these weights with the vectors
are left to the BLAS: a fused product would need the whole gradient row, up to 4096 wide, in
registers, or the similarities once more for each slice of it.

Shape suffixes: R rows, W walked, D dimensions, S splits of the walk, X cells of the mask; in lower
case a block of them, k a slice of D.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from whet_kernels.infonce.mask import Cells

INTERPRETER_MULTIPROCESSORS = 1
BLOCKS_WAITED = 2  # programs a multiprocessor: fewer leave it idle at the end
LOG2_E = math.log2(math.e)


class Blocks(NamedTuple):
    """How a kernel cuts its work, and Triton's two settings."""

    rows: int
    columns: int
    dims: int
    warps: int
    stages: int


# By bytes of a number; compiled for sm_90 without spills (benchmarks/fused_infonce_sm90.py).
NEGATIVES = {2: Blocks(128, 256, 64, 8, 3), 4: Blocks(128, 128, 32, 8, 3)}
WEIGHTS = {2: Blocks(128, 128, 64, 8, 3), 4: Blocks(128, 128, 32, 8, 3)}
# The interpreter's time goes by operations, not by numbers; small, so that tests see many blocks.
INTERPRETED = Blocks(32, 16, 32, 1, 1)


@triton.jit
def _similarities(
    row_ptr: tl.tensor,
    walked_ptr: tl.tensor,
    row: tl.tensor,
    rows: tl.tensor,
    column: tl.tensor,
    walked: tl.tensor,
    DIMS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Dot products [r, w] in float32 of the blocks that begin at `row` and `column`; beyond the end
    the last vector is taken again.
    """
    k = tl.arange(0, BLOCK_D)
    # One wide pointer per block and narrow offsets: wide ones per number would take 128 registers.
    row_ptr += row.to(tl.int64) * DIMS
    walked_ptr += column.to(tl.int64) * DIMS
    from_rk = tl.minimum(tl.arange(0, BLOCK_R), rows - 1 - row)[:, None] * DIMS + k[None, :]
    from_kw = tl.minimum(tl.arange(0, BLOCK_W), walked - 1 - column)[None, :] * DIMS + k[:, None]
    sum_rw = tl.zeros((BLOCK_R, BLOCK_W), tl.float32)
    for start in range(0, DIMS, BLOCK_D):
        if DIMS % BLOCK_D == 0:
            a_rk, b_kw = tl.load(row_ptr + from_rk), tl.load(walked_ptr + from_kw)
        else:
            a_rk = tl.load(row_ptr + from_rk, mask=(k < DIMS - start)[None, :], other=0.0)
            b_kw = tl.load(walked_ptr + from_kw, mask=(k < DIMS - start)[:, None], other=0.0)
        sum_rw = tl.dot(a_rk, b_kw, sum_rw, input_precision=PRECISION)
        row_ptr += BLOCK_D
        walked_ptr += BLOCK_D
    return sum_rw


@triton.jit
def _negatives_kernel(
    row_ptr: tl.tensor,
    walked_ptr: tl.tensor,
    out_ptr: tl.tensor,
    masked_ptr: tl.tensor,
    cursor_ptr: tl.tensor,
    end_ptr: tl.tensor,
    most_ptr: tl.tensor,
    rows: tl.tensor,
    walked: tl.tensor,
    scale: tl.tensor,
    blocks_a_split: tl.tensor,
    DIMS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """out[split, row] = log2 of the sum of 2^(scale x dot) over the split's unmasked columns."""
    block, split = tl.program_id(0), tl.program_id(1)
    row_r = block * BLOCK_R + tl.arange(0, BLOCK_R)
    safe_r = tl.minimum(row_r, rows - 1)
    cursor_r = tl.load(cursor_ptr + split * rows + safe_r)
    end_r = tl.load(end_ptr + safe_r)
    top_r = tl.full((BLOCK_R,), float("-inf"), tl.float32)
    sum_r = tl.zeros((BLOCK_R,), tl.float32)
    column_blocks = tl.cdiv(walked, BLOCK_W)
    step = split * blocks_a_split
    stop = tl.minimum(step + blocks_a_split, column_blocks)
    while step < stop:
        column_w = step * BLOCK_W + tl.arange(0, BLOCK_W)
        logit_rw = _similarities(
            row_ptr, walked_ptr, block * BLOCK_R, rows, step * BLOCK_W, walked,
            DIMS, BLOCK_R, BLOCK_W, BLOCK_D, PRECISION,
        )  # fmt: skip
        logit_rw = tl.where((column_w < walked)[None, :], logit_rw * scale, float("-inf"))
        left = tl.load(most_ptr + block * column_blocks + step)
        # Cells are sorted, so each row has a cursor; as many rounds as the block's fullest row
        # needs.
        while left > 0:
            masked_r = tl.load(masked_ptr + cursor_r, mask=cursor_r < end_r, other=walked)
            logit_rw = tl.where(masked_r[:, None] == column_w[None, :], float("-inf"), logit_rw)
            cursor_r = tl.where(masked_r < (step + 1) * BLOCK_W, cursor_r + 1, cursor_r)
            left -= 1
        new_r = tl.maximum(top_r, tl.max(logit_rw, 1))
        # A block may be masked whole: -inf - -inf would be NaN.
        base_r = tl.where(new_r == float("-inf"), 0.0, new_r)
        sum_r = sum_r * tl.exp2(top_r - base_r) + tl.sum(tl.exp2(logit_rw - base_r[:, None]), 1)
        top_r = new_r
        step += 1
    tl.store(out_ptr + split * rows + row_r, top_r + tl.log2(sum_r), mask=row_r < rows)


@triton.jit
def _weights_kernel(
    row_ptr: tl.tensor,
    walked_ptr: tl.tensor,
    level_r_ptr: tl.tensor,
    level_w_ptr: tl.tensor,
    out_ptr: tl.tensor,
    rows: tl.tensor,
    walked: tl.tensor,
    scale: tl.tensor,
    BOTH: tl.constexpr,
    DIMS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """out[row, column] = 2^(scale x dot - level of the row), and of the column where BOTH."""
    row, column = tl.program_id(0) * BLOCK_R, tl.program_id(1) * BLOCK_W
    row_r, column_w = row + tl.arange(0, BLOCK_R), column + tl.arange(0, BLOCK_W)
    safe_r, safe_w = tl.minimum(row_r, rows - 1), tl.minimum(column_w, walked - 1)
    logit_rw = scale * _similarities(
        row_ptr, walked_ptr, row, rows, column, walked,
        DIMS, BLOCK_R, BLOCK_W, BLOCK_D, PRECISION,
    )  # fmt: skip
    weight_rw = tl.exp2(logit_rw - tl.load(level_r_ptr + safe_r)[:, None])
    if BOTH:
        weight_rw += tl.exp2(logit_rw - tl.load(level_w_ptr + safe_w)[None, :])
    # int64 once for the block's start: rows times columns passes 2^31.
    out_ptr += row.to(tl.int64) * walked
    out_rw = out_ptr + (tl.arange(0, BLOCK_R)[:, None] * walked + column_w[None, :])
    inside_rw = (row_r < rows)[:, None] & (column_w < walked)[None, :]
    tl.store(out_rw, weight_rw.to(out_ptr.dtype.element_ty), mask=inside_rw)


# Which of the two `triton.jit` made was settled when this file was imported.
INTERPRETING = not isinstance(_weights_kernel, triton.runtime.JITFunction)


def prepare(vector_RD: Tensor) -> Tensor:
    """Contiguous rows of whole 16 bytes, which is what the hardware copies in one piece; in the
    interpreter, which multiplies bfloat16 wrongly, float32 with the same values. ValueError for
    vectors the kernels cannot take.
    """
    if vector_RD.device.type != "cuda" and not INTERPRETING:
        raise ValueError(
            f"backend=triton needs vectors on CUDA, these are on {vector_RD.device}. "
            "Choose backend=torch."
        )
    if vector_RD.dtype == torch.float64:
        raise ValueError("backend=triton counts in float32. Choose backend=torch for float64.")
    if INTERPRETING:
        vector_RD = vector_RD.float()
    lacking = -vector_RD.shape[1] % (16 // vector_RD.element_size())
    return F.pad(vector_RD, (0, lacking)).contiguous() if lacking else vector_RD.contiguous()


def negatives(
    row_RD: Tensor, walked_WD: Tensor, cells: Cells, scale: float, tile: tuple[int, int]
) -> Tensor:
    """Log of the sum of e^s over the cells of each row that are not masked, [R] float32."""
    rows, walked = len(row_RD), len(walked_WD)
    blocks = INTERPRETED if INTERPRETING else NEGATIVES[row_RD.element_size()]
    high, wide = -(-rows // blocks.rows), -(-walked // blocks.columns)
    wanted = min(wide, -(-BLOCKS_WAITED * _multiprocessors(row_RD.device) // high))
    blocks_a_split = -(-wide // wanted)
    splits = -(-wide // blocks_a_split)
    out_SR = torch.empty(splits, rows, device=row_RD.device)
    with torch.cuda.device_of(row_RD):  # Triton launches on the current device
        _negatives_kernel[(high, splits)](
            row_RD, walked_WD, out_SR, cells.column_X.int(),
            *_cursors(cells, splits, blocks_a_split * blocks.columns), _fullest(cells, blocks),
            rows, walked, scale * LOG2_E, blocks_a_split,
            **settings(blocks, row_RD.shape[1], row_RD.element_size()),
        )  # fmt: skip
    return (out_SR / LOG2_E).logsumexp(0)


def _cursors(cells: Cells, splits: int, columns_a_split: int) -> tuple[Tensor, Tensor]:
    """Where each row's cells begin in each split, [S, R], and where they end, [R]."""
    rows, walked = cells.shape
    begin_R = torch.arange(rows, device=cells.key_X.device) * walked
    split_S = torch.arange(splits, device=cells.key_X.device) * columns_a_split
    cursor_SR = torch.searchsorted(cells.key_X, begin_R + split_S[:, None])
    end_R = torch.searchsorted(cells.key_X, begin_R + walked)
    return cursor_SR.int(), end_R.int()


def _fullest(cells: Cells, blocks: Blocks) -> Tensor:
    """For each block of rows and columns how many cells its fullest row has in it."""
    row_X, column_X = cells.row_X, cells.column_X
    high, wide = -(-cells.shape[0] // blocks.rows), -(-cells.shape[1] // blocks.columns)
    span_X = row_X * wide + column_X // blocks.columns  # ascending, as the cells are
    place_X = torch.arange(len(span_X), device=span_X.device)
    count_X = (place_X - torch.searchsorted(span_X, span_X) + 1).int()
    block_X = row_X // blocks.rows * wide + column_X // blocks.columns
    most = torch.zeros(high * wide, dtype=torch.int32, device=span_X.device)
    return most.scatter_reduce_(0, block_X, count_X, "amax")


def weights(
    row_RD: Tensor, walked_WD: Tensor, level_R: Tensor, level_W: Tensor | None, scale: float
) -> Tensor:
    """e^(s - level_R), plus e^(s - level_W) if given, [R, W]; masked cells hold anything."""
    rows, walked = len(row_RD), len(walked_WD)
    blocks = INTERPRETED if INTERPRETING else WEIGHTS[row_RD.element_size()]
    out_RW = torch.empty(rows, walked, dtype=row_RD.dtype, device=row_RD.device)
    level_R = level_R * LOG2_E
    grid = (-(-rows // blocks.rows), -(-walked // blocks.columns))
    with torch.cuda.device_of(row_RD):
        _weights_kernel[grid](
            row_RD, walked_WD, level_R, level_R if level_W is None else level_W * LOG2_E, out_RW,
            rows, walked, scale * LOG2_E, level_W is not None,
            **settings(blocks, row_RD.shape[1], row_RD.element_size()),
        )  # fmt: skip
    return out_RW


def settings(blocks: Blocks, dims: int, size: int) -> dict[str, Any]:
    """The keyword arguments of a launch, for vectors of `dims` numbers of `size` bytes."""
    return {
        "DIMS": dims,
        "BLOCK_R": blocks.rows,
        "BLOCK_W": blocks.columns,
        "BLOCK_D": blocks.dims,
        "PRECISION": "tf32x3" if size == 4 else "tf32",
        "num_warps": blocks.warps,
        "num_stages": blocks.stages,
    }


def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return INTERPRETER_MULTIPROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count
