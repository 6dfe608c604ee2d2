"""The searches compared on a CPU: what people run today, and Whet's own.

Shape suffixes: Q queries, N corpus rows, D dimensions, C candidates a query, k results a query.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from cases import Answer, Problem, check, exact_answer, moved, problem
from measure import (
    Goal,
    Results,
    Row,
    Run,
    Sample,
    Samples,
    Took,
    clock,
    faster_by,
    floor_at_most,
    in_rounds,
    over_floor,
    ratio,
    say_once,
    time_at_most,
)

from whet_kernels.topk.cpu.int8 import int8_gain
from whet_kernels.topk.cpu.search import mine_topk_tiled
from whet_kernels.topk.window import Exclude, Window, window_of

FLOOR_TILE = 8192
FLOOR_ROWS = 1 << 17  # the floor multiplies at most this many rows, and is scaled up
ROOM = 48  # candidates beyond k and the positive, for those over the ceiling
TORCH_TILE = 8192
BASE = "faiss.knn then filter"
INT8, FLOAT32, AUTO = "whet int8", "whet float32 tiles", "whet windowed_search"


class Shapes(NamedTuple):
    """How much to measure."""

    queries: int
    rows: tuple[int, ...]
    dimension: int
    kinds: tuple[str, ...] = ("random", "clustered")
    ks: tuple[int, ...] = (16, 64)
    many_queries: int = 20_000  # for the time outside the search, over few documents
    few_rows: int = 2_000


SHAPES = Shapes(2000, (100_000, 400_000), 384)
QUICK = Shapes(200, (4_000, 12_000), 64, ks=(8, 16), many_queries=400, few_rows=500)


class Search(NamedTuple):
    """One case: a problem, how many results, filters on or off, and the exact answer."""

    given: Problem
    kind: str
    k: int
    filters: bool
    answer: Answer

    @classmethod
    def of(cls, given: Problem, kind: str, k: int, filters: bool = True) -> Search:
        """The case with its answer."""
        return cls(given, kind, k, filters, exact_answer(given, k, filters))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Queries and corpus as numpy."""
        return self.given.query_QD.numpy(), self.given.corpus_ND.numpy()

    @property
    def window(self) -> Window:
        """Ceiling and exclusion in whet's form."""
        return window_for(self.given, self.k, self.filters)

    def row(self, group: str, what: str) -> Row:
        """An empty row of this case."""
        (queries, dimension), rows = self.given.query_QD.shape, len(self.given.corpus_ND)
        switch = "on" if self.filters else "off"
        return Row("cpu", group, what, self.kind, queries, rows, dimension, self.k, switch)


def window_for(given: Problem, k: int, filters: bool) -> Window:
    """Ceiling and exclusion of the positive, or none."""
    queries, corpus = given.query_QD.numpy(), given.corpus_ND.numpy()
    if not filters:
        return window_of(len(queries), len(corpus), ceiling_Q=None, floor_Q=None, exclude=None)
    exclude = Exclude(np.arange(len(queries) + 1), given.positive_Q.numpy())
    ceiling_Q = given.ceiling_Q.numpy()
    return window_of(len(queries), len(corpus), ceiling_Q=ceiling_Q, floor_Q=None, exclude=exclude)


def floor_of(given: Problem) -> tuple[Run, float]:
    """The sgemm floor over whole tiles, and what to multiply its time by."""
    rows, tile = len(given.corpus_ND), min(FLOOR_TILE, len(given.corpus_ND))
    used = min(rows, FLOOR_ROWS) // tile * tile
    out = torch.empty(len(given.query_QD), tile)

    def run() -> None:
        for first in range(0, used, tile):
            torch.mm(given.query_QD, given.corpus_ND[first : first + tile].T, out=out)

    return run, rows / used


def faiss_rivals(case: Search) -> dict[str, Run]:
    """faiss's plain search, then the filter on all candidates at once; nothing where it is
    missing.
    """
    if find_spec("faiss") is None:
        say_once("faiss is not installed: its rows are left out")
        return {}
    import faiss

    query_QD, corpus_ND = case.arrays
    index = faiss.IndexFlatIP(corpus_ND.shape[1])
    index.add(corpus_ND)
    depth = min(case.k + (1 + ROOM if case.filters else 0), len(corpus_ND))

    def knn() -> np.ndarray:
        metric = faiss.METRIC_INNER_PRODUCT
        return filtered(case, *faiss.knn(query_QD, corpus_ND, depth, metric=metric))

    def flat() -> np.ndarray:
        return filtered(case, *index.search(query_QD, depth))

    return {BASE: knn, "faiss.IndexFlatIP then filter": flat}


def filtered(case: Search, score_QC: np.ndarray, row_QC: np.ndarray) -> np.ndarray:
    """The first k candidates that are allowed, -1 where there are fewer."""
    if not case.filters:
        return row_QC[:, : case.k]
    ceiling_Q, positive_Q = case.given.ceiling_Q.numpy(), case.given.positive_Q.numpy()
    keep_QC = (score_QC <= ceiling_Q[:, None]) & (row_QC != positive_Q[:, None])
    order_Qk = np.argsort(~keep_QC, axis=1, kind="stable")[:, : case.k]
    return np.take_along_axis(np.where(keep_QC, row_QC, -1), order_Qk, 1)


def torch_tiles(case: Search) -> np.ndarray:
    """mm, mask and topk of each tile, merged as they come."""
    query_QD, corpus_ND, positive_Q, ceiling_Q = case.given
    best_Qk = torch.full((len(query_QD), case.k), -torch.inf)
    row_Qk = torch.full(best_Qk.shape, -1)
    for first in range(0, len(corpus_ND), TORCH_TILE):
        score_QT = query_QD @ corpus_ND[first : first + TORCH_TILE].T
        if case.filters:
            score_QT.masked_fill_(score_QT > ceiling_Q[:, None], -torch.inf)
            last = first + score_QT.shape[1]
            at = ((positive_Q >= first) & (positive_Q < last)).nonzero()[:, 0]
            score_QT[at, positive_Q[at] - first] = -torch.inf
        top_QC, at_QC = score_QT.topk(min(case.k, score_QT.shape[1]), dim=1)
        best_Qk, place_Qk = torch.cat([best_Qk, top_QC], 1).topk(case.k, dim=1)
        row_Qk = torch.cat([row_Qk, at_QC + first], 1).gather(1, place_Qk)
    return row_Qk.where(best_Qk > -torch.inf, torch.tensor(-1)).numpy()


def tiled(case: Search, *, int8: bool, hint_QC: np.ndarray | None = None) -> np.ndarray:
    """Whet's tiles."""
    query_QD, corpus_ND = case.arrays
    window = case.window
    found = mine_topk_tiled(query_QD, corpus_ND, case.k, window, int8=int8, hint_QC=hint_QC)
    return found.rows_Qk


def auto(case: Search) -> np.ndarray:
    """Whet as a user gets it."""
    return _auto(case)[0]


def _auto(case: Search) -> tuple[np.ndarray, str]:
    from whet.mining.search import windowed_search
    from whet.mining.search.backend import search_task

    window = case.window
    options: dict[str, Any] = (
        {"ceiling_Q": window.ceiling_Q, "exclude": window.exclude} if case.filters else {}
    )
    found = windowed_search(search_task(*case.arrays, **options), case.k)
    return found.top.rows_Qk, found.backend


def whet_searches(case: Search) -> dict[str, Run]:
    """Whet's ways; the automatic one is named with the backend it took."""
    runs: dict[str, Run] = {
        INT8: lambda: tiled(case, int8=True),
        FLOAT32: lambda: tiled(case, int8=False),
        AUTO: lambda: auto(case),
    }
    return {name: run for name, run in runs.items() if name != INT8 or ours()[0] == INT8}


def ours() -> tuple[str, str]:
    """Whet's fastest tiles on this CPU, and what a user gets."""
    return (INT8 if int8_gain() else FLOAT32), AUTO


def checked(case: Search, row: Row, rows_Qk: np.ndarray) -> Row:
    """The row with its exactness filled in."""
    verdict = check(case.given, case.answer, rows_Qk)
    row.exact, row.wrong = verdict.words, verdict.wrong
    full = int(((rows_Qk >= 0).sum(1) == case.k).sum())
    row.full, row.full_share = f"{full}/{len(rows_Qk)}", full / len(rows_Qk)
    return row


def search_rows(shapes: Shapes, rounds: int, results: Results) -> None:
    """Floor, faiss, torch and whet at every size, kind of data and k."""
    for rows in shapes.rows:
        for kind in shapes.kinds:
            given = problem(kind, shapes.queries, rows, shapes.dimension)
            for k in shapes.ks:
                _search(Search.of(given, kind, k), rounds, results)


def _search(case: Search, rounds: int, results: Results) -> None:
    floor, scale = floor_of(case.given)
    methods = faiss_rivals(case)
    methods |= {"torch mm + topk + mask": lambda: torch_tiles(case)} | whet_searches(case)
    rows = {name: checked(case, case.row("search", name), run()) for name, run in methods.items()}
    rows[AUTO].what = f"{AUTO} (auto: {_auto(case)[1]})"
    samples = in_rounds(methods, floor, rounds, timer=clock, scale=scale)
    results.add(_floor_row(case, samples[AUTO]))
    for name, row in rows.items():
        row.timed(samples[name])
        if name != BASE and BASE in samples:
            row.compared(BASE, "speed", ratio(samples[BASE], samples[name]))
        results.add(row.judged(*_search_goals(name)))


def _search_goals(name: str) -> list[Goal]:
    if name not in (INT8, AUTO):
        return []
    return [faster_by(1.5, 1.8), floor_at_most(0.65)]


def _floor_row(case: Search, samples: Samples) -> Row:
    """The floor itself, scaled to the whole corpus."""
    row = case.row("search", "floor: sgemm alone")
    row.filters, row.exact = "", "no answer"
    return row.timed([Sample(one.floor, one.floor) for one in samples])


def _pair(
    case: Search,
    group: str,
    runs: dict[str, Run],
    rounds: int,
    *,
    others: dict[str, tuple[str, Search]],
    goals: Callable[[str], tuple[Goal, ...]],
    results: Results,
) -> None:
    """Rows of `runs`; `others` says which of them each is set against, and its own case."""
    floor, scale = floor_of(case.given)
    rows = {
        name: checked(others[name][1], others[name][1].row(group, name.partition(" | ")[0]), run())
        for name, run in runs.items()
    }
    samples = in_rounds(runs, floor, rounds, scale=scale)
    for name, row in rows.items():
        row.timed(samples[name])
        other = others[name][0]
        if other:
            row.compared(other.partition(" | ")[2], "time", ratio(samples[name], samples[other]))
        results.add(row.judged(*(goals(name) if other else ())))


def k_and_filter_rows(shapes: Shapes, rounds: int, results: Results) -> None:
    """256 negatives against 16, and the window against none."""
    given = problem("clustered", shapes.queries, shapes.rows[0], shapes.dimension)
    for group, base, other in (
        ("k", (16, True), (256, True)),
        ("filters", (64, False), (64, True)),
    ):
        runs: dict[str, Run] = {}
        others: dict[str, tuple[str, Search]] = {}
        cases = [Search.of(given, "clustered", *part) for part in (base, other)]
        labels = ["k=16", "k=256"] if group == "k" else ["filters off", "filters on"]
        for name in ours():
            for case, label in zip(cases, labels, strict=True):
                against = "" if label == labels[0] else f"{name} | {labels[0]}"
                others[f"{name} | {label}"] = (against, case)
                runs[f"{name} | {label}"] = _bound(case, name)
        _pair(cases[0], group, runs, rounds, others=others, goals=lambda _: (), results=results)


def _bound(case: Search, name: str) -> Run:
    return whet_searches(case)[name]


def warm_rows(shapes: Shapes, rounds: int, results: Results) -> None:
    """A refresh that starts from the last one's rows, after the vectors moved, and a cold one."""
    before = problem("clustered", shapes.queries, shapes.rows[0], shapes.dimension)
    k = shapes.ks[-1]
    name = ours()[0]
    int8 = name == INT8
    hint_QC = tiled(Search.of(before, "clustered", k), int8=int8)
    for share in (0.02, 0.05, 0.2):
        case = Search.of(moved(before, share), f"clustered, moved {share:.0%}", k)
        cold, warm = f"{name} | cold", f"{name}, warm | warm"
        runs: dict[str, Run] = {
            cold: partial(tiled, case, int8=int8),
            warm: partial(tiled, case, int8=int8, hint_QC=hint_QC),
        }
        others = {cold: ("", case), warm: (cold, case)}
        _pair(
            case,
            "warm refresh",
            runs,
            rounds,
            others=others,
            goals=lambda _: (time_at_most(0.8),),
            results=results,
        )


def growth_rows(shapes: Shapes, rounds: int, results: Results) -> None:
    """Time for each pair of query and document as both grow, over the smallest case's."""
    base, top = shapes.rows[0], shapes.rows[-1]
    sizes = [(shapes.queries // 4, base), (shapes.queries // 2, base), (shapes.queries, base)]
    sizes += [(shapes.queries, round((base * top) ** 0.5)), (shapes.queries, top)]
    whole = problem("random", shapes.queries, top, shapes.dimension)
    floor, scale = floor_of(whole)
    for name in ours():
        cases = {size: Search.of(_part(whole, *size), "random", shapes.ks[-1]) for size in sizes}
        runs = {str(size): _bound(case, name) for size, case in cases.items()}
        rows = {
            size: checked(case, case.row("growth", name), runs[str(size)]())
            for size, case in cases.items()
        }
        samples = in_rounds(runs, floor, rounds, scale=scale)
        for size, row in rows.items():
            per_pair = _per_pair(samples, size, sizes[0])
            row.timed(samples[str(size)])
            row.x_floor, row.x_floor_cpu = over_floor(_scaled(samples[str(size)], size, whole))
            if size != sizes[0]:
                row.compared(f"Q={sizes[0][0]:,} N={base:,}, a pair", "time", per_pair)
                row.judged(time_at_most(1.05))
            results.add(row)


def _part(whole: Problem, queries: int, rows: int) -> Problem:
    """The first queries over the first rows, each positive moved among them."""
    from cases import unit, with_ceiling

    corpus_ND, positive_Q = whole.corpus_ND[:rows], whole.positive_Q[:queries] % rows
    shift_QD = corpus_ND[positive_Q] - whole.corpus_ND[whole.positive_Q[:queries]]
    query_QD = unit(whole.query_QD[:queries] + shift_QD / 2**0.5)
    return with_ceiling(query_QD, corpus_ND, positive_Q)


def _scaled(samples: Samples, size: tuple[int, int], whole: Problem) -> Samples:
    """The samples with the whole problem's floor cut to this size."""
    share = size[0] * size[1] / (len(whole.query_QD) * len(whole.corpus_ND))
    return [one._replace(floor=Took(*(share * part for part in one.floor))) for one in samples]


def _per_pair(samples: dict[str, Samples], size: tuple[int, int], base: tuple[int, int]) -> Took:
    """Time a pair over the base's, each by the floor next to it: the machine's speed drops out."""
    pairs = size[0] * size[1] / (base[0] * base[1])
    ones, others = (
        [one._replace(took=_by_floor(one, share)) for one in samples[str(part)]]
        for part, share in ((size, pairs), (base, 1.0))
    )
    return ratio(ones, others)


def _by_floor(sample: Sample, share: float) -> Took:
    return Took(*(a / b / share for a, b in zip(sample.took, sample.floor, strict=True)))
