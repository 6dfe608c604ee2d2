"""What the mining benchmark searches: made-up vectors, the window, and the exact answer.

Three kinds of data, unit vectors all: `random` directions; `clustered`, a hundred documents around
each of N / 100 centres; `weak`, random again, but the query is hardly nearer to its positive (a
cosine of about 0.12) than to many others, as with a model that knows nothing of the domain yet.

Shape suffixes: Q queries, N corpus rows, D dimensions, T rows of a tile, B queries of a block, C
candidates a query, k results a query.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

MARGIN = 0.05  # a negative scores at most 95 % of the positive
TIE = 2e-6  # scores nearer than this may change places: float32 sums differ by their order
NEAR = 1e-4  # over the error of any float32 product of unit vectors, up to 1,600 dimensions
SPARE = 64  # candidates the exact answer looks at beyond k, at first
TILE_ROWS, BLOCK_QUERIES = 1 << 16, 512
CLUSTER = 100


class Problem(NamedTuple):
    """Queries, corpus, each query's positive (int64) and ceiling (float32), on one device."""

    query_QD: torch.Tensor
    corpus_ND: torch.Tensor
    positive_Q: torch.Tensor
    ceiling_Q: torch.Tensor

    def take(self, queries: torch.Tensor) -> Problem:
        """Some of the queries."""
        at = queries.to(self.query_QD.device)
        return Problem(self.query_QD[at], self.corpus_ND, self.positive_Q[at], self.ceiling_Q[at])


class Answer(NamedTuple):
    """The k best allowed rows (-1 where there are no more), their float64 scores, as numpy."""

    rows_Qk: np.ndarray
    scores_Qk: np.ndarray


class Verdict(NamedTuple):
    """Ids that differ from the exact answer and are no ties, and queries with fewer than it has."""

    wrong: int
    short: int

    @property
    def words(self) -> str:
        """`yes`, or how far from it."""
        parts = [f"{self.wrong:,} wrong"] * (self.wrong > 0)
        parts += [f"{self.short:,} queries short"] * (self.short > 0)
        return "no: " + ", ".join(parts) if parts else "yes"


def problem(
    kind: str, queries: int, rows: int, dimension: int, *, device: str = "cpu", bf16: bool = False
) -> Problem:
    """A problem, the same for the same arguments; `bf16` rounds the vectors."""
    noise = torch.Generator(device=device).manual_seed(0)
    dtype = torch.bfloat16 if bf16 else torch.float32
    corpus_ND = torch.empty(rows, dimension, dtype=dtype, device=device)
    centres = _normal(max(1, rows // CLUSTER), dimension, noise) if kind == "clustered" else None
    for first in range(0, rows, TILE_ROWS):
        count = min(TILE_ROWS, rows - first)
        part_TD = _normal(count, dimension, noise)
        if centres is not None:
            of_T = torch.arange(first, first + count, device=device) * len(centres) // rows
            part_TD = centres[of_T] + 0.9 * part_TD
        corpus_ND[first : first + count] = unit(part_TD).to(dtype)
    positive_Q = torch.randint(rows, (queries,), generator=noise, device=device)
    near = {"random": 1.0, "clustered": 2.2, "weak": 0.12}[kind]
    noise_QD = unit(_normal(queries, dimension, noise))
    query_QD = unit(near * corpus_ND[positive_Q].float() + noise_QD).to(dtype)
    return with_ceiling(query_QD, corpus_ND, positive_Q)


def with_ceiling(
    query_QD: torch.Tensor, corpus_ND: torch.Tensor, positive_Q: torch.Tensor
) -> Problem:
    """The problem of these vectors: the ceiling is 5 % below the positive's exact score."""
    score_Q = dots(query_QD, corpus_ND, positive_Q[:, None])[:, 0].float().double()
    return Problem(query_QD, corpus_ND, positive_Q, (score_Q - score_Q.abs() * MARGIN).float())


def moved(given: Problem, share: float) -> Problem:
    """The problem after every vector moved by `share` of its length in a random direction."""
    noise = torch.Generator(device=given.query_QD.device).manual_seed(1)
    query_QD, corpus_ND = (
        unit(part + share * unit(_normal(len(part), part.shape[1], noise)))
        for part in (given.query_QD, given.corpus_ND)
    )
    return with_ceiling(query_QD, corpus_ND, given.positive_Q)


def unit(vector_ND: torch.Tensor) -> torch.Tensor:
    """Rows scaled to length one."""
    return torch.nn.functional.normalize(vector_ND, dim=1)


def _normal(rows: int, dimension: int, noise: torch.Generator) -> torch.Tensor:
    return torch.randn(rows, dimension, generator=noise, device=noise.device)


def dots(query_QD: torch.Tensor, corpus_ND: torch.Tensor, row_QC: torch.Tensor) -> torch.Tensor:
    """Float64 scores [Q, C] of each query with its own rows (row 0 stands in for -1)."""
    step = max(1, (1 << 24) // max(1, row_QC.shape[1] * query_QD.shape[1]))
    parts = [
        torch.einsum(
            "qcd,qd->qc",
            corpus_ND[row_QC[at : at + step].clamp(min=0)].double(),
            query_QD[at : at + step].double(),
        )
        for at in range(0, len(query_QD), step)
    ]
    return torch.cat(parts)


def exact_answer(given: Problem, k: int, filters: bool) -> Answer:
    """The answer by plain float32 products, its best candidates scored again in float64.

    Where the candidates could have missed one (a ceiling in the bulk of the scores has many rows
    next to it) eight times as many are looked at.
    """
    parts = [
        _exact_block(given.take(queries), k, filters, SPARE)
        for queries in torch.arange(len(given.query_QD)).split(BLOCK_QUERIES)
    ]
    return Answer(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _exact_block(given: Problem, k: int, filters: bool, spare: int) -> Answer:
    best_BC, row_BC = _candidates(given, min(k + spare, len(given.corpus_ND)), filters)
    exact_BC = dots(given.query_QD, given.corpus_ND, row_BC).float()
    exact_BC[best_BC == -torch.inf] = -torch.inf
    if filters:
        exact_BC[exact_BC > given.ceiling_Q[:, None]] = -torch.inf
    score_BC, rows_BC = exact_BC.cpu().numpy(), row_BC.cpu().numpy()
    order = np.lexsort((rows_BC, -score_BC), axis=1)[:, :k]
    score_Bk = np.take_along_axis(score_BC, order, 1)
    found = score_Bk > -np.inf
    rows_Bk = np.where(found, np.take_along_axis(rows_BC, order, 1), -1)
    answer = Answer(rows_Bk, np.where(found, score_Bk, np.nan).astype(np.float64))
    least_B = best_BC[:, -1].cpu().numpy()  # what was left out scores at most this, or nearly
    open_B = (least_B > -np.inf) & (score_Bk[:, -1] <= least_B + NEAR)
    again = np.flatnonzero(open_B)
    if len(again) and row_BC.shape[1] < len(given.corpus_ND):
        more = _exact_block(given.take(torch.from_numpy(again)), k, filters, 8 * spare)
        for whole, piece in zip(answer, more, strict=True):
            whole[again] = piece
    return answer


def _candidates(given: Problem, keep: int, filters: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The `keep` best float32 products under the ceiling or within NEAR of it."""
    query_BD, device = given.query_QD.float(), given.query_QD.device
    best_BC = torch.full((len(query_BD), keep), -torch.inf, device=device)
    row_BC = torch.zeros((len(query_BD), keep), dtype=torch.int64, device=device)
    for first in range(0, len(given.corpus_ND), TILE_ROWS):
        tile_TD = given.corpus_ND[first : first + TILE_ROWS].float()
        score_BT = query_BD @ tile_TD.T
        if filters:
            score_BT.masked_fill_(score_BT > given.ceiling_Q[:, None] + NEAR, -torch.inf)
            inside = (given.positive_Q >= first) & (given.positive_Q < first + len(tile_TD))
            at = inside.nonzero()[:, 0]
            score_BT[at, given.positive_Q[at] - first] = -torch.inf
        top_BC, at_BC = score_BT.topk(min(keep, score_BT.shape[1]), dim=1)
        both_BC = torch.cat([best_BC, top_BC], 1)
        best_BC, place_BC = both_BC.topk(keep, dim=1)
        row_BC = torch.cat([row_BC, at_BC + first], 1).gather(1, place_BC)
    return best_BC, row_BC


def check(given: Problem, answer: Answer, rows_Qk: np.ndarray) -> Verdict:
    """Compare rows (best first, -1 for none) with the exact answer.

    An id that differs is wrong unless it ties with the k-th score or with the ceiling, where it may
    let one more in at the end; so is a row given twice, and one that stands before a better one.
    """
    rows_Qk = np.asarray(rows_Qk, np.int64)
    device = given.query_QD.device
    dot_Qk = dots(given.query_QD, given.corpus_ND, torch.from_numpy(rows_Qk).to(device))
    score_Qk = np.where(rows_Qk >= 0, dot_Qk.cpu().numpy(), np.nan)
    short_Q = (rows_Qk >= 0).sum(1) < (answer.rows_Qk >= 0).sum(1)
    ceiling_Q = given.ceiling_Q.double().cpu().numpy()
    wrong = 0
    for at in np.array_split(np.arange(len(rows_Qk)), max(1, len(rows_Qk) // 256)):
        got, ref = (rows_Qk[at], score_Qk[at]), (answer.rows_Qk[at], answer.scores_Qk[at])
        extra_B, flips_B = _differing(got, ref, ref[1], ceiling_Q[at])
        missed_B, lost_B = _differing(ref, got, ref[1], ceiling_Q[at])
        missed_B[short_Q[at]] = 0  # counted as short
        bad_B = np.maximum(np.maximum(extra_B, missed_B) - np.maximum(flips_B, lost_B), 0)
        wrong += int(bad_B.sum())
    return Verdict(wrong + _misplaced(rows_Qk, score_Qk), int(short_Q.sum()))


def _differing(
    one: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray],
    exact_Bk: np.ndarray,
    ceiling_B: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """How many ids of one are not in the other: that tie with nothing, and that tie with the
    ceiling.
    """
    rows_Bk, score_Bk = one
    only_Bk = (rows_Bk >= 0) & ~(rows_Bk[:, :, None] == other[0][:, None, :]).any(2)
    last_B = np.where(np.isnan(exact_Bk), np.inf, exact_Bk).min(1)
    tied_Bk = np.abs(score_Bk - last_B[:, None]) <= TIE
    ceiling_Bk = np.abs(score_Bk - ceiling_B[:, None]) <= TIE
    return (only_Bk & ~tied_Bk & ~ceiling_Bk).sum(1), (only_Bk & ceiling_Bk).sum(1)


def _misplaced(rows_Qk: np.ndarray, score_Qk: np.ndarray) -> int:
    """Rows given twice, and rows before a better one."""
    ordered = np.sort(rows_Qk, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    with np.errstate(invalid="ignore"):
        late = np.diff(score_Qk, axis=1) > TIE
    return int(twice.sum() + late.sum())
