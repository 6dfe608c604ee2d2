"""InfoNCE without the pairs x documents matrix, known positives left out, forward and backward.

With s = q.d / temperature, K_b the known positives of pair b's query (its own document among them):

    loss_b = -log( e^s_own / (e^s_own + sum over c not in K_b of e^s_bc) ) = softplus(n_b - s_own)
    n_b    = log of that sum over the negatives

(van den Oord et al., arXiv 1807.03748, equation 4.) Softmax tile by tile as in Inf-CL (Cheng et
al., arXiv 2410.17243) and FlashAttention (Dao et al., arXiv 2205.14135): the forward keeps n_b
only. The backward makes one tile of similarities again, turns it into d loss_b / d s_bc

    own: -w_b    other known: 0    negative: e^(s_bc - n_b) w_b,    w_b = sigmoid(n_b - s_own)

and multiplies it with the vectors. Nothing is subtracted from 1, so a pair that is nearly learned
keeps its digits; a pair without negatives has n = -inf, loss 0 and gradient 0.

Document to query (`symmetric`) shares the tile: n'_c runs over the queries that do not know
document c, and all pairs of one document add up to e^(s_bc - n'_c) W_c, W_c the sum of their w'.

Gradients are sums in a fixed order, without atomic additions: the same to the bit on every run.

Shape suffixes: B pairs, C documents, D dimensions, M listed positives, U distinct positives of the
batch, R rows and W walked (whichever side), X cells of the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from whet_kernels.infonce.mask import Cells, cells_by_tile, dense_mask, mask_cells

Known = tuple[Tensor, Tensor]

# Similarities of a tile. On a CPU 16 MiB: smaller ones stay in the cache, but threads then wait for
# each other more often (2.4 times as long at 512 x 1024). On a GPU 128 MiB, as large as
# memory allows, because adding a tile's part to the gradients costs a pass over them.
CPU_TILE = (1024, 4096)
CUDA_TILE_ROWS = 8192
CUDA_TILE_BYTES = 1 << 27
NO_CLIP = 50.0  # softplus is the identity above this to float64's last digit


def info_nce_reference(
    query_BD: Tensor,
    doc_CD: Tensor,
    column_B: Tensor,
    known: Known,
    *,
    temperature: float,
    symmetric: bool = False,
    weight_B: Tensor | None = None,
) -> Tensor:
    """The loss of `fused_info_nce` with all B x C similarities and a dense mask, by autograd;
    `weight_B` is how much each pair counts in the mean (None: all alike).
    """
    known_BC = dense_mask(known, doc_CD.shape[0])
    logit_BC = query_BD @ doc_CD.T / temperature
    own_BC = F.one_hot(column_B, doc_CD.shape[0]).bool()
    left_BC = logit_BC.masked_fill(known_BC & ~own_BC, float("-inf"))
    loss = _mean_entropy(left_BC, column_B, weight_B)
    if not symmetric:
        return loss
    logit_BB = logit_BC[:, column_B].T  # row: a pair's positive, column: a query
    known_BB = known_BC[:, column_B].T
    row_B = torch.arange(len(logit_BB), device=logit_BB.device)
    own_BB = torch.eye(len(logit_BB), dtype=torch.bool, device=logit_BB.device)
    left_BB = logit_BB.masked_fill(known_BB & ~own_BB, float("-inf"))
    return 0.5 * (loss + _mean_entropy(left_BB, row_B, weight_B))


def _mean_entropy(logit_BC: Tensor, column_B: Tensor, weight_B: Tensor | None) -> Tensor:
    if weight_B is None:
        return F.cross_entropy(logit_BC, column_B)
    loss_B = F.cross_entropy(logit_BC, column_B, reduction="none")
    return (loss_B * weight_B).sum() / weight_B.sum()


def fused_info_nce(
    query_BD: Tensor,
    doc_CD: Tensor,
    column_B: Tensor,
    known: Known,
    *,
    temperature: float,
    symmetric: bool = False,
    products: torch.dtype | None = None,
    backend: str = "auto",
    tile: tuple[int, int] | None = None,
) -> Tensor:
    """Mean InfoNCE of B pairs among C documents, a scalar (float64 for float64 vectors, else
    float32), in memory O((B + C) D + one tile).

    `column_B` is each pair's own document. `known` lists every known positive of each pair's query,
    CSR: offsets [B + 1] and columns [M], in any order, repeats allowed, the own one listed or not;
    none of them is a negative. `symmetric` takes the mean with each positive against all queries
    that do not know it. `products` is the type that vectors are rounded to where they are
    multiplied (None: their own): the loss is then that of the rounded vectors, and gradients keep
    the vectors' own type. In bfloat16, at temperature 0.05, a logit of unit vectors is off by some
    0.05 / sqrt(D). `backend` is auto, triton or torch (see `choose_loss_backend`). `tile` is how
    many pairs and documents are handled at a time (None: by device); the result differs by rounding
    only. Differentiable once, with respect to the vectors. ValueError for what does not fit.
    """
    _check(query_BD, doc_CD, column_B, known, temperature)
    products = products or query_BD.dtype
    name, _ = choose_loss_backend(backend, query_BD.device, products)
    kernels: Any = _TorchKernels()
    if name == "triton":
        from whet_kernels.infonce import triton_kernels as kernels
    device = query_BD.device
    column_B, known = column_B.to(device), (known[0].to(device), known[1].to(device))
    problem = _Problem(
        column_B,
        mask_cells(column_B, known, doc_CD.shape[0]),
        1.0 / temperature,
        symmetric,
        kernels,
        products,
        tile or _tile(device, products),
    )
    apply: Callable[..., Tensor] = _FusedInfoNCE.apply
    return apply(query_BD, doc_CD, problem)


def choose_loss_backend(asked: str, device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    """The backend's name and the reason in a line: `triton` on CUDA, `torch` anywhere.

    ValueError for a name that is none. Asking for triton runs it: on CUDA, or in Triton's
    interpreter where TRITON_INTERPRET=1 was set before Triton was first imported.
    """
    if asked not in ("auto", "triton", "torch"):
        raise ValueError(f"backend={asked} is not known. Choose from auto, triton, torch.")
    if asked != "auto":
        return asked, "asked for"
    if device.type != "cuda":
        return "torch", f"the vectors are on {device.type}, the Triton kernels need CUDA"
    if dtype == torch.float64:
        return "torch", "the Triton kernels count in float32, the vectors are float64"
    if find_spec("triton") is None:
        return "torch", "Triton is not installed"
    return "triton", "one pass over the similarities in registers, fastest on CUDA"


@dataclass(frozen=True)
class _Problem:
    """What stays the same between forward and backward, beside the vectors."""

    column_B: Tensor
    cells: Cells
    scale: float
    symmetric: bool
    kernels: Any
    products: torch.dtype
    tile: tuple[int, int]


@dataclass(frozen=True)
class _Weights:
    """How similarities become gradients: e^(s_bc - level_B) + e^(s_bc - level_C), own_B for own.

    `level_C` is +inf for documents that are no pair's positive, None for one direction only.
    """

    level_B: Tensor
    level_C: Tensor | None
    own_B: Tensor


class _FusedInfoNCE(torch.autograd.Function):
    """Keeps vectors and a number or two per row; the similarities are made twice instead.

    The vectors are rounded in here: outside, autograd would round their gradients, too.
    """

    @staticmethod
    def forward(ctx: Any, query_BD: Tensor, doc_CD: Tensor, problem: _Problem) -> Tensor:
        ctx.dims, ctx.dtype = query_BD.shape[1], query_BD.dtype
        query_BD, doc_CD = (
            problem.kernels.prepare(vector.to(problem.products)) for vector in (query_BD, doc_CD)
        )
        own_B = _own_logits(query_BD, doc_CD, problem)
        rest_B = problem.kernels.negatives(
            query_BD, doc_CD, problem.cells, problem.scale, problem.tile
        )
        loss = F.softplus(rest_B - own_B, threshold=NO_CLIP).mean()
        weights = _Weights(torch.logaddexp(rest_B, own_B), None, -torch.sigmoid(rest_B - own_B))
        if problem.symmetric:
            other, weights = _other_direction(query_BD, doc_CD, problem, own_B, weights)
            loss = 0.5 * (loss + other)
        ctx.save_for_backward(query_BD, doc_CD)
        ctx.problem, ctx.weights = problem, weights
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        query_BD, doc_CD = ctx.saved_tensors
        problem: _Problem = ctx.problem
        grads = _gradients(query_BD, doc_CD, problem, ctx.weights, ctx.needs_input_grad[:2])
        factor = grad * (problem.scale / len(query_BD) * (0.5 if problem.symmetric else 1.0))
        # What `prepare` filled up has no gradient to give.
        query_grad, doc_grad = (
            None if g is None else g[:, : ctx.dims].mul_(factor).to(ctx.dtype) for g in grads
        )
        return query_grad, doc_grad, None


def _other_direction(
    query_BD: Tensor, doc_CD: Tensor, problem: _Problem, own_B: Tensor, weights: _Weights
) -> tuple[Tensor, _Weights]:
    """Document to query: its mean loss, and the weights of both directions together."""
    column_U, place_B, count_U = problem.column_B.unique(return_inverse=True, return_counts=True)
    cells = problem.cells.by_document(column_U)
    rest_U = problem.kernels.negatives(
        doc_CD[column_U], query_BD, cells, problem.scale, problem.tile[::-1]
    )
    gap_B = rest_U[place_B] - own_B
    weight_B = torch.sigmoid(gap_B)
    # Not index_add_: on CUDA its order, and so the last bit, changes from run to run.
    ordered_B = weight_B[place_B.argsort(stable=True)]
    sum_U = torch.segment_reduce(ordered_B, "sum", lengths=count_U, unsafe=True)
    level_C = torch.full((len(doc_CD),), float("inf"), dtype=own_B.dtype, device=own_B.device)
    level_C[column_U] = torch.where(sum_U > 0, rest_U - sum_U.log(), float("inf"))
    loss = F.softplus(gap_B, threshold=NO_CLIP).mean()
    return loss, _Weights(weights.level_B, level_C, weights.own_B - weight_B)


def _gradients(
    query_BD: Tensor,
    doc_CD: Tensor,
    problem: _Problem,
    weights: _Weights,
    needed: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Of the sum of the losses, with respect to similarities times vectors, in the wide type."""
    wide = weights.level_B.dtype
    grad_BD = torch.zeros_like(query_BD, dtype=wide) if needed[0] else None
    grad_CD = torch.zeros_like(doc_CD, dtype=wide) if needed[1] else None
    value_X = torch.zeros(len(problem.cells.key_X), dtype=wide, device=query_BD.device)
    value_X[problem.cells.place(problem.column_B)] = weights.own_B
    shape = (len(query_BD), len(doc_CD))
    tiles = cells_by_tile(problem.cells, problem.tile)
    for i, rows in enumerate(slices_in_steps(shape[0], problem.tile[0])):
        for j, columns in enumerate(slices_in_steps(shape[1], problem.tile[1])):
            level_C = None if weights.level_C is None else weights.level_C[columns]
            grad_bc = problem.kernels.weights(
                query_BD[rows], doc_CD[columns], weights.level_B[rows], level_C, problem.scale
            )
            cells = tiles.of(i, j)
            # What the exponential gave for a known positive (inf, perhaps) is overwritten here.
            grad_bc[cells.row, cells.column] = value_X[cells.which].to(grad_bc.dtype)
            if grad_BD is not None:
                _add_product(grad_BD[rows], grad_bc, doc_CD[columns])
            if grad_CD is not None:
                _add_product(grad_CD[columns], grad_bc.T, query_BD[rows])
            del grad_bc  # before the next one is made
    return grad_BD, grad_CD


def _add_product(out_RD: Tensor, weight_RW: Tensor, vector_WD: Tensor) -> None:
    """out += weight @ vector, summed in out's type."""
    if weight_RW.dtype == out_RD.dtype:
        out_RD.addmm_(weight_RW, vector_WD.to(out_RD.dtype))
    else:  # narrow weights come from the CUDA kernels only, where a wide product of them exists
        out_RD += torch.mm(weight_RW, vector_WD, out_dtype=out_RD.dtype)


class _TorchKernels:
    """The two passes over tiles in plain torch, for any device.

    Tiles are made in the same memory again and again: left to the C library, freed ones of 16 MiB
    pile up between small tensors that live longer (240 MiB were seen).
    """

    def __init__(self) -> None:
        self.memory: list[Tensor | None] = [None, None]

    def prepare(self, vector_RD: Tensor) -> Tensor:
        """As they are."""
        return vector_RD

    def negatives(
        self, row_RD: Tensor, walked_WD: Tensor, cells: Cells, scale: float, tile: tuple[int, int]
    ) -> Tensor:
        """Log of the sum of e^s over the cells of each row that are not masked, [R]."""
        tiles = cells_by_tile(cells, tile)
        parts = []
        for i, rows in enumerate(slices_in_steps(len(row_RD), tile[0])):
            sum_r = row_RD.new_full((rows.stop - rows.start,), float("-inf"), dtype=_wide(row_RD))
            for j, columns in enumerate(slices_in_steps(len(walked_WD), tile[1])):
                logit_rw = self._logits(row_RD[rows], walked_WD[columns], scale)
                masked = tiles.of(i, j)
                logit_rw[masked.row, masked.column] = float("-inf")
                sum_r = torch.logaddexp(sum_r, _log_sum_exp(logit_rw))
            parts.append(sum_r)
        return torch.cat(parts)

    def weights(
        self,
        row_RD: Tensor,
        walked_WD: Tensor,
        level_R: Tensor,
        level_W: Tensor | None,
        scale: float,
    ) -> Tensor:
        """e^(s - level_R), plus e^(s - level_W) if given, [R, W]; masked cells hold anything. The
        next call writes over it.
        """
        logit_RW = self._logits(row_RD, walked_WD, scale)
        if level_W is None:
            return logit_RW.sub_(level_R[:, None]).exp_()
        other_RW = self._tile(1, logit_RW.shape, logit_RW)
        torch.sub(logit_RW, level_W, out=other_RW).exp_()
        return logit_RW.sub_(level_R[:, None]).exp_().add_(other_RW)

    def _logits(self, row_RD: Tensor, walked_WD: Tensor, scale: float) -> Tensor:
        row_RD, walked_WD = row_RD.to(_wide(row_RD)), walked_WD.to(_wide(row_RD))
        out_RW = self._tile(0, torch.Size((len(row_RD), len(walked_WD))), row_RD)
        return torch.mm(row_RD, walked_WD.T, out=out_RW).mul_(scale)

    def _tile(self, number: int, shape: torch.Size, like: Tensor) -> Tensor:
        memory = self.memory[number]
        if memory is None or len(memory) < shape.numel():
            self.memory[number] = memory = like.new_empty(shape.numel())
        return memory[: shape.numel()].view(shape)


def _log_sum_exp(logit_RW: Tensor) -> Tensor:
    """torch.logsumexp, without its copies of the tile: `logit_RW` is used up."""
    top_R = logit_RW.amax(1)
    base_R = top_R.masked_fill(top_R == float("-inf"), 0.0)
    return logit_RW.sub_(base_R[:, None]).exp_().sum(1).log_().add_(base_R)


def _own_logits(query_BD: Tensor, doc_CD: Tensor, problem: _Problem) -> Tensor:
    """Each pair's own similarity; in slices, because the wide copies are larger than the input."""
    wide = _wide(query_BD)
    parts = [
        (query_BD[rows].to(wide) * doc_CD[problem.column_B[rows]].to(wide)).sum(1)
        for rows in slices_in_steps(len(query_BD), problem.tile[0])
    ]
    return torch.cat(parts).mul_(problem.scale)


def _wide(vector_RD: Tensor) -> torch.dtype:
    return torch.float64 if vector_RD.dtype == torch.float64 else torch.float32


def _tile(device: torch.device, products: torch.dtype) -> tuple[int, int]:
    if device.type == "cpu":
        return CPU_TILE
    return CUDA_TILE_ROWS, CUDA_TILE_BYTES // (CUDA_TILE_ROWS * products.itemsize)


def slices_in_steps(length: int, step: int) -> Iterator[slice]:
    """0 to `length` in steps, the last one shorter.

    >>> list(slices_in_steps(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _check(
    query_BD: Tensor, doc_CD: Tensor, column_B: Tensor, known: Known, temperature: float
) -> None:
    """ValueError for what does not fit together."""
    if query_BD.ndim != 2 or doc_CD.ndim != 2 or query_BD.shape[1] != doc_CD.shape[1]:
        raise ValueError(
            f"queries {tuple(query_BD.shape)} and documents {tuple(doc_CD.shape)} must be "
            "[B, D] and [C, D]."
        )
    if (query_BD.dtype, query_BD.device) != (doc_CD.dtype, doc_CD.device):
        raise ValueError(
            f"queries are {query_BD.dtype} on {query_BD.device}, documents {doc_CD.dtype} on "
            f"{doc_CD.device}. Bring both to one type and device."
        )
    offsets_B1, columns_M = known
    pairs = len(query_BD)
    if not pairs or column_B.shape != (pairs,) or offsets_B1.shape != (pairs + 1,):
        raise ValueError(
            f"{pairs} queries need {pairs} columns and {pairs + 1} offsets, at least one pair; "
            f"there are {tuple(column_B.shape)} and {tuple(offsets_B1.shape)}."
        )
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be above 0.")
    for name, column in (("column_B", column_B), ("known columns", columns_M)):
        message = f"{name} must lie in 0 to {len(doc_CD) - 1}, the documents' rows."
        inside = ((column >= 0) & (column < len(doc_CD))).all()
        if column.device.type == "cuda":  # the GPU sees for itself, and the host does not wait
            torch._assert_async(inside, message)
        elif not inside:
            raise ValueError(message)
