"""How far the first pass's scores may lie from the exact ones, and the bands this makes of bounds.

Shape suffixes: B queries of a block padded to the tile, S rows of a slab, D dimensions.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from whet_kernels.topk.exact import FLOAT32_ROUNDING, FLOAT32_UNDERFLOW
from whet_kernels.topk.gpu.band_kernel import INTERPRET, Band, Rounded
from whet_kernels.topk.gpu.exact import DeviceLimits

EACH = 4096 if INTERPRET else 256  # that a program makes the edges of


def float32_at_most(bound: torch.Tensor) -> torch.Tensor:
    """Float32 at the float64 bounds or below."""
    near = bound.float()
    under = torch.nextafter(near, torch.full_like(near, -torch.inf))
    return torch.where(near.double() > bound, under, near)


@triton.jit
def _at_most(bound_B):
    """`float32_at_most` in the kernel: the next float32 under another is the next integer."""
    near_B = bound_B.to(tl.float32)
    bits_B = near_B.to(tl.int32, bitcast=True)
    # the least magnitude under zero has bits of its own: 0x80000001
    under_B = tl.where(near_B == 0, -0x7FFFFFFF, tl.where(near_B > 0, bits_B - 1, bits_B + 1))
    high_B = near_B.to(tl.float64) > bound_B
    return tl.where(high_B, under_B.to(tl.int32).to(tl.float32, bitcast=True), near_B)


@triton.jit
def _write_edges(
    norm_ptr,
    lost_norm_ptr,
    largest_ptr,
    least_ptr,
    ceiling_ptr,
    floor_ptr,
    low_ptr,
    high_ptr,
    floor_low_ptr,
    floor_high_ptr,
    error_ptr,
    COUNT,
    D,
    ROUNDING: tl.constexpr,
    UNDERFLOW: tl.constexpr,
    EACH: tl.constexpr,
):
    """The error of a slab's scores and the edges of the band, of some queries."""
    at_B = tl.program_id(0) * EACH + tl.arange(0, EACH)
    there_B = at_B < COUNT
    norm_B = tl.load(norm_ptr + at_B, there_B, 0.0)
    query_lost_B = tl.load(lost_norm_ptr + at_B, there_B, 0.0)
    largest, lost = tl.load(largest_ptr), tl.load(largest_ptr + 1)
    n = (D + 2).to(tl.float64) * ROUNDING
    error_B = norm_B * lost + query_lost_B * (largest + lost)
    error_B += n / (1 - n) * ((norm_B + query_lost_B) * (largest + lost))
    # not times (1 + 2^-40): a constant of a kernel may become float32
    error_B += error_B * 2.0**-40 + (D + 1).to(tl.float64) * UNDERFLOW
    tl.store(error_ptr + at_B, error_B, there_B)
    ceiling_B = tl.load(ceiling_ptr + at_B, there_B, 0.0)
    floor_B = tl.load(floor_ptr + at_B, there_B, 0.0)
    least_B = tl.maximum(tl.load(least_ptr + at_B, there_B, 0.0), floor_B)
    # not above the ceiling, also where the floor is: rows near the ceiling are counted exactly
    least_B = tl.minimum(least_B, ceiling_B).to(tl.float64)
    ceiling_B, floor_B = ceiling_B.to(tl.float64), floor_B.to(tl.float64)
    tl.store(low_ptr + at_B, _at_most(least_B - error_B), there_B)
    tl.store(high_ptr + at_B, -_at_most(-(ceiling_B + error_B)), there_B)
    tl.store(floor_low_ptr + at_B, _at_most(floor_B - error_B), there_B)
    tl.store(floor_high_ptr + at_B, -_at_most(-(floor_B + error_B)), there_B)


class Edges:
    """Room for the bands of a block of queries, made anew for each slab by one launch."""

    def __init__(self, query: Rounded, limits: DeviceLimits, dimension: int) -> None:
        self.query, self.limits, self.dimension = query, limits, dimension
        self.band = Band(*(torch.empty_like(limits.ceiling_B) for _ in Band._fields))
        self.error_B = torch.empty_like(query.norm_S)

    def update(self, rows: Rounded, least_B: torch.Tensor) -> Band:
        """The band that no product leaves whose exact score is from `least_B` (float32) and the
        floor to the ceiling; `error_B`, float64, then bounds |first pass's score - exact score|.

        With q = q' + dq and x = x' + dx, |qx - q'x'| <= |q||dx| + |dq||x'| and |x'| <= |x| + |dx|,
        the norms of dq and dx as measured. To it come the roundings of the product: tensor cores
        may cut off rather than round, and each of D terms and D sums then costs 2^-23 of |q'||x'|,
        which bounds every partial sum (gamma_n, Higham, eq. 3.4, with u = 2^-23 and n = 2 D); int8
        sums are exact, and three roundings follow, which that covers. Two more are for the exact
        score's own rounding.
        """
        count = len(self.error_B)
        _write_edges[(triton.cdiv(count, EACH),)](
            self.query.norm_S,
            self.query.error_S,
            rows.largest_2,
            least_B,
            self.limits.ceiling_B,
            self.limits.floor_B,
            *self.band,
            self.error_B,
            count,
            self.dimension,
            ROUNDING=4 * FLOAT32_ROUNDING,
            UNDERFLOW=FLOAT32_UNDERFLOW,
            EACH=EACH,
        )
        return self.band
