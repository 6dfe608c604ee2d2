"""The search on a GPU against the oracle, to the bit. Without a GPU the same kernels run in
Triton's interpreter, on small shapes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import KINDS, a_window, assert_same, exclude_of, vectors

pytest.importorskip("triton")

from whet_kernels.topk.exact import VectorError, fold_sum, pair_scores
from whet_kernels.topk.gpu import one_pass as gpu_pass
from whet_kernels.topk.gpu import search as mine_gpu
from whet_kernels.topk.gpu.band_kernel import (
    INTERPRET,
    Band,
    Counts,
    band_words,
    band_words_reference,
    best_of_bins,
    padding,
)
from whet_kernels.topk.gpu.bounds import hinted_bound
from whet_kernels.topk.gpu.edges import Edges, float32_at_most
from whet_kernels.topk.gpu.exact import (
    DeviceLimits,
    SlabHits,
    fold_places,
    pair_scores_torch,
    score_rows,
)
from whet_kernels.topk.gpu.one_pass import GpuBlock, GpuSearch
from whet_kernels.topk.gpu.rounding import list_rows, room_for_rounded, round_rows
from whet_kernels.topk.gpu.scan import order_keys
from whet_kernels.topk.gpu.search import GpuTiling, mine_topk_gpu
from whet_kernels.topk.reference import mine_topk_reference
from whet_kernels.topk.window import reached_by_hints, window_of

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not INTERPRET and not torch.cuda.is_available(), reason="no GPU"),
]
# seconds each in the interpreter; run by make test-slow
SLOW_WITHOUT_GPU = pytest.mark.slow if INTERPRET else pytest.mark.kernel
DEVICE = torch.device("cpu" if INTERPRET else "cuda")
NONE = {"ceiling_Q": None, "floor_Q": None, "exclude": None}
SMALL = GpuTiling(queries=64, rows=128, hits=64, kept=96, sample=64)
EXAMPLES = 5 if INTERPRET else 200
GEARS = ["bf16", "fp16", "int8"]


def on_gpu(query, corpus, k, *, tiling=SMALL, first_pass="auto", exact_counts=True, **window):
    """`mine_topk_gpu` with what `mine_topk` takes, and a tiling that has room for k."""
    checked = window_of(len(query), len(corpus), **{**NONE, **window})
    if tiling is not None and tiling.kept < k:
        tiling = GpuTiling(tiling.queries, tiling.rows, tiling.hits, k + 32, tiling.sample)
    options = {"tiling": tiling, "first_pass": first_pass, "exact_counts": exact_counts}
    return mine_topk_gpu(query, corpus, k, checked, **options)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    queries=st.integers(1, 8),
    rows=st.integers(1, 300),
    dimension=st.sampled_from([1, 2, 31, 47, 123]),
    k=st.sampled_from([1, 3, 17, 400]),
    kind=st.sampled_from(KINDS),
    gear=st.sampled_from([*GEARS, "auto"]),
)
def test_equals_the_oracle(seed, queries, rows, dimension, k, kind, gear):
    rng = np.random.default_rng(seed)
    query, corpus = (vectors(rng, kind, n, dimension) for n in (queries, rows))
    scores = mine_topk_reference(query, corpus, rows).scores_Qk.ravel()
    window = a_window(rng, scores, queries, rows)
    expected = mine_topk_reference(query, corpus, k, window_of(len(query), len(corpus), **window))
    assert_same(on_gpu(query, corpus, k, first_pass=gear, **window), expected)


@pytest.mark.parametrize("gear", GEARS)
def test_odd_shape_with_window_and_exclusions(gear):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 47, 123), vectors(rng, "unit", 31, 123)
    scores = mine_topk_reference(query, corpus, 31).scores_Qk
    window = {"ceiling_Q": scores[:, 4].copy(), "floor_Q": scores[:, 20].copy()}
    window["exclude"] = exclude_of([[q % 31, 3 * q % 31] for q in range(47)])
    expected = mine_topk_reference(query, corpus, 5, window_of(len(query), len(corpus), **window))
    assert_same(on_gpu(query, corpus, 5, first_pass=gear, **window), expected)


def test_one_document_and_all_of_the_corpus_excluded():
    query = np.ones((3, 8), np.float32)
    corpus = np.ones((1, 8), np.float32)
    expected = mine_topk_reference(query, corpus, 2)
    assert_same(on_gpu(query, corpus, 2), expected)
    found = on_gpu(query, corpus, 2, exclude=exclude_of([[0], [], [0]]), ceiling_Q=np.zeros(3, "f"))
    assert found.rows_Qk.tolist() == [[-1, -1]] * 3
    assert found.above_Q.tolist() == [0, 1, 0]
    assert on_gpu(query[:0], corpus, 2).rows_Qk.shape == (0, 2)
    assert (on_gpu(query, corpus[:0], 2).rows_Qk == -1).all()


def test_a_corpus_of_one_vector():
    """Every row ties with the k-th: more than there is room for. The answer is the first rows."""
    query, corpus = np.ones((4, 31), np.float32), np.ones((300, 31), np.float32)
    found = on_gpu(query, corpus, 5, exclude=exclude_of([[0, 2]] * 4))
    assert found.rows_Qk.tolist() == [[1, 3, 4, 5, 6]] * 4


@SLOW_WITHOUT_GPU
def test_many_rows_equal_to_the_thresholds():
    corpus = np.repeat(np.float32([[0.5], [0.25]]), 200, axis=0)
    query, ceiling = np.ones((2, 1), np.float32), np.float32([0.5, 0.4999])
    window = {"ceiling_Q": ceiling, "floor_Q": np.float32([0.25, 0.2500001])}
    found = on_gpu(query, corpus, 2, **window)
    assert found.rows_Qk.tolist() == [[0, 1], [-1, -1]]
    assert_same(
        found, mine_topk_reference(query, corpus, 2, window_of(len(query), len(corpus), **window))
    )


@SLOW_WITHOUT_GPU
def test_best_rows_that_collide_in_words():
    """All of a query's best sit in the same words, and in one slab."""
    rng = np.random.default_rng(0)
    corpus = vectors(rng, "unit", 600, 16)
    query = vectors(rng, "unit", 3, 16)
    for q in range(3):
        corpus[256 + q : 384 : 4] = query[q] + 0.01 * vectors(rng, "unit", 32, 16)
    expected = mine_topk_reference(query, corpus, 24)
    for gear in GEARS:
        assert_same(on_gpu(query, corpus, 24, first_pass=gear), expected)


def test_a_corpus_sorted_from_worst_to_best():
    rng = np.random.default_rng(0)
    corpus, query = vectors(rng, "unit", 700, 16), vectors(rng, "unit", 2, 16)
    corpus = corpus[np.argsort(corpus @ query[0])]
    assert_same(on_gpu(query, corpus, 9), mine_topk_reference(query, corpus, 9))


@SLOW_WITHOUT_GPU
def test_hundreds_of_exclusions_at_the_top():
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 4, 31), vectors(rng, "unit", 500, 31)
    best = mine_topk_reference(query, corpus, 450).rows_Qk
    exclude = exclude_of([best[0], best[1][:90], [], best[3][5:400]])
    expected = mine_topk_reference(
        query, corpus, 12, window_of(len(query), len(corpus), exclude=exclude)
    )
    assert (expected.rows_Qk >= 0).all()
    assert_same(on_gpu(query, corpus, 12, exclude=exclude), expected)


@SLOW_WITHOUT_GPU
def test_more_results_than_survive_and_a_deep_k():
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 2, 31), vectors(rng, "unit", 300, 31)
    scores = mine_topk_reference(query, corpus, 300).scores_Qk
    window = {"ceiling_Q": scores[:, 10].copy(), "floor_Q": scores[:, 250].copy()}
    for k in (200, 400):
        expected = mine_topk_reference(
            query, corpus, k, window_of(len(query), len(corpus), **window)
        )
        assert_same(on_gpu(query, corpus, k, **window), expected)
    assert_same(on_gpu(query, corpus, 290, tiling=None), mine_topk_reference(query, corpus, 290))


@SLOW_WITHOUT_GPU
def test_tilings_and_query_subsets_do_not_change_a_bit():
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 20, 47), vectors(rng, "unit", 350, 47)
    ceiling = mine_topk_reference(query, corpus, 30).scores_Qk[:, -1].copy()
    expected = mine_topk_reference(
        query, corpus, 10, window_of(len(query), len(corpus), ceiling_Q=ceiling)
    )
    for tiling in (None, GpuTiling(7, 256, 128, 160, 128), GpuTiling(20, 160, 16, 26, 400)):
        assert_same(on_gpu(query, corpus, 10, ceiling_Q=ceiling, tiling=tiling), expected)
    some = np.array([3, 19, 4])
    found = on_gpu(query[some], corpus, 10, ceiling_Q=ceiling[some])
    assert np.array_equal(found.rows_Qk, expected.rows_Qk[some])


@SLOW_WITHOUT_GPU
def test_twenty_runs_give_the_same_bits():
    rng = np.random.default_rng(0)
    shape = (2, 60, 16) if INTERPRET else (200, 20_000, 384)
    query, corpus = vectors(rng, "unit", shape[0], shape[2]), vectors(rng, "unit", *shape[1:])
    first = on_gpu(query, corpus, 9, ceiling_Q=np.full(shape[0], 0.2, np.float32))
    for _ in range(19):
        again = on_gpu(query, corpus, 9, ceiling_Q=np.full(shape[0], 0.2, np.float32))
        assert_same(again, first)


@pytest.mark.parametrize(
    "kind",
    ["bfloat16", *(pytest.param(name, marks=SLOW_WITHOUT_GPU) for name in ("float16", "float32"))],
)
def test_half_precision_and_memory_maps_are_widened_exactly(tmp_path, kind):
    rng = np.random.default_rng(0)
    query = torch.from_numpy(vectors(rng, "unit", 5, 47)).to(getattr(torch, kind))
    corpus = torch.from_numpy(vectors(rng, "unit", 300, 47)).to(getattr(torch, kind))
    expected = mine_topk_reference(query.float().numpy(), corpus.float().numpy(), 9)
    window = window_of(len(query), len(corpus), **NONE)
    assert_same(mine_topk_gpu(query, corpus, 9, window, tiling=SMALL), expected)
    on_device = mine_topk_gpu(query.to(DEVICE), corpus.to(DEVICE), 9, window, tiling=SMALL)
    assert_same(on_device, expected)
    if kind != "bfloat16":
        np.save(tmp_path / "corpus.npy", corpus.numpy())
        mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
        assert_same(mine_topk_gpu(query.numpy(), mapped, 9, window, tiling=SMALL), expected)


def test_a_warm_bound_right_or_wrong_changes_nothing():
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 6, 31), vectors(rng, "unit", 400, 31)
    expected = mine_topk_reference(query, corpus, 9)
    window = window_of(len(query), len(corpus), **NONE)
    last = expected.scores_Qk[:, -1]
    wrong = np.where(np.arange(6) % 2, last + np.float32(0.1), np.float32(np.inf))
    for warm in (last, last - np.float32(0.1), wrong.astype(np.float32)):
        found = mine_topk_gpu(query, corpus, 9, window, warm_lo_Q=warm, tiling=SMALL)
        assert_same(found, expected)


def test_a_good_warm_bound_needs_no_sample_and_few_candidates(monkeypatch):
    """With the k-th scores known, hardly more than k rows a query are scored exactly."""
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 6, 31), vectors(rng, "unit", 400, 31)
    last = mine_topk_reference(query, corpus, 9).scores_Qk[:, -1]
    scored = []
    admit = gpu_pass.admit_rows

    def counting(found, *rest):
        scored.append(int(found.count_B.sum()))
        return admit(found, *rest)

    monkeypatch.setattr(gpu_pass, "admit_rows", counting)
    window = window_of(len(query), len(corpus), **NONE)
    mine_topk_gpu(query, corpus, 9, window, warm_lo_Q=last, first_pass="fp16", tiling=SMALL)
    assert 6 * 9 <= sum(scored) <= 6 * 9 + 12


def test_without_exact_counts_only_the_floor_count_may_be_off():
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 4, 31), vectors(rng, "unit", 400, 31)
    scores = mine_topk_reference(query, corpus, 400).scores_Qk
    window = {"ceiling_Q": scores[:, 20].copy(), "floor_Q": scores[:, 200].copy()}
    expected = mine_topk_reference(query, corpus, 9, window_of(len(query), len(corpus), **window))
    found = on_gpu(query, corpus, 9, exact_counts=False, first_pass="int8", **window)
    assert_same(found._replace(below_Q=expected.below_Q), expected)
    assert (found.below_Q <= expected.below_Q).all()
    assert (found.below_Q >= expected.below_Q - 60).all()


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize(
    "bad", [np.nan, *(pytest.param(bad, marks=SLOW_WITHOUT_GPU) for bad in (np.inf, -np.inf))]
)
def test_vectors_that_are_not_finite_are_named(bad):
    good = np.ones((300, 5), np.float32)
    broken = good.copy()
    broken[[201, 250], 2] = bad
    with pytest.raises(VectorError, match="corpus row 201: the vector holds NaN or infinity"):
        on_gpu(good[:3], broken, 2)
    with pytest.raises(VectorError, match="query row 1: the vector holds NaN or infinity"):
        on_gpu(broken[200:203], good, 2)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_norms_that_overflow_a_score_are_named():
    query, corpus = np.full((2, 4), 1e19, np.float32), np.ones((300, 4), np.float32)
    corpus[130] = 1e19
    with pytest.raises(VectorError, match="corpus row 130: norm 2e\\+19 overflows"):
        on_gpu(query, corpus, 2)


def test_other_types_are_refused():
    query, corpus = np.ones((2, 4)), np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match="float64, must be float32, float16 or bfloat16"):
        on_gpu(query, corpus, 2)


def test_without_a_gpu_one_clear_line(monkeypatch):
    monkeypatch.setattr(mine_gpu, "INTERPRET", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    one = np.ones((1, 4), np.float32)
    with pytest.raises(RuntimeError, match="needs a CUDA GPU and there is none: use mine_topk"):
        on_gpu(one, one, 1)


def rounded(vectors_SD, gear):
    vector_SD = torch.from_numpy(vectors_SD).to(DEVICE)
    return round_rows(vector_SD, gear, room_for_rounded(*vectors_SD.shape, gear, DEVICE))


def edges_of(query, rows, dimension, least_B=None, ceiling_B=None, floor_B=None):
    """The edges of queries for rows, without a window unless one is given."""
    every_B = torch.zeros(len(query.low_SP), device=DEVICE)
    ceiling_B = every_B + torch.inf if ceiling_B is None else ceiling_B
    floor_B = every_B - torch.inf if floor_B is None else floor_B
    none = torch.zeros(0, dtype=torch.int64, device=DEVICE)
    edges = Edges(query, DeviceLimits(ceiling_B, floor_B, none, none, 0), dimension)
    edges.update(rows, floor_B if least_B is None else least_B)
    return edges


def first_pass_scores(query, rows):
    """The product the kernel compares, from the smallest edge that lets a row through."""
    low = query.low_SP.double() @ rows.low_SP.double().T
    return low * query.scale_S.double()[:, None] * rows.scale_S.double()


@pytest.mark.parametrize("gear", GEARS)
@pytest.mark.parametrize("kind", [*KINDS, "one sign"])
def test_the_error_bound_holds(gear, kind):
    """No score of the kernel is further from the exact one than the bound: a band that wide around
    the exact scores holds every row, and one beside it none.
    """
    rng = np.random.default_rng(0)
    query, corpus = (
        abs(vectors(rng, kind, n, 123)) if kind == "one sign" else vectors(rng, kind, n, 123)
        for n in (9, 60)
    )
    exact_QN = np.stack([fold_sum(corpus.astype("d") * q.astype("d")).astype("f") for q in query])
    low_query, low_rows = rounded(query, gear), rounded(corpus, gear)
    error_B = edges_of(low_query, low_rows, 123).error_B
    apart = (
        first_pass_scores(low_query, low_rows)[:9, :60].cpu() - torch.from_numpy(exact_QN)
    ).abs()
    assert (apart <= error_B[:9, None].cpu()).all()
    exact_B1 = torch.from_numpy(exact_QN).to(DEVICE).double()
    for row in (0, 17, 59):
        inside = torch.zeros(len(low_query.low_SP), device=DEVICE, dtype=torch.float64)
        inside[:9] = exact_B1[:, row]
        wide = Band(*((inside + side * error_B * 1.000001).float() for side in (-1, 1, -1, 1)))
        word = band_words(low_query, low_rows, 60, wide, None)
        bins, span = padding().bins, padding().span
        bit = word[:9, row // span * bins + row % bins] >> (row % span // bins)
        assert (bit & 1).all()


def test_edges_are_the_float32_next_to_the_float64_bounds():
    """Of bounds of every size, infinite, zero and subnormal ones too: not a number further."""
    rng = np.random.default_rng(0)
    query, rows = (rounded(vectors(rng, "unit", n, 31), "bf16") for n in (300, 60))
    count = len(query.low_SP)
    odd = [0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45, 3e38, -3e38, 1e-38, 1.0]
    some = [*odd, *(rng.standard_normal(500) * 10.0 ** rng.integers(-44, 38, 500))]
    least_B, ceiling_B, floor_B = (
        torch.from_numpy(rng.choice(some, count).astype(np.float32)).to(DEVICE) for _ in range(3)
    )
    for scale in (1.0, 1e-20, 1e-42, 0.0):  # the last: a bound that is a float32 itself
        small = query._replace(norm_S=query.norm_S * scale, error_S=query.error_S * scale)
        edges = edges_of(small, rows, 31, least_B, ceiling_B, floor_B)
        least, error_B = least_B.maximum(floor_B).minimum(ceiling_B).double(), edges.error_B
        bounds = (least - error_B, -ceiling_B.double() - error_B)
        bounds += (floor_B.double() - error_B, -floor_B.double() - error_B)
        for edge_B, bound_B, sign in zip(edges.band, bounds, (1, -1, 1, -1), strict=True):
            assert torch.equal(edge_B * sign, float32_at_most(bound_B))
    assert edges.error_B.unique().numel() == 1  # nothing but what may be lost to underflow


def test_the_largest_norms_are_kept_and_what_is_not_finite_counts_as_infinity():
    rng = np.random.default_rng(0)
    some = vectors(rng, "any norm", 200, 31)
    room = room_for_rounded(200, 31, "fp16", DEVICE)
    for part in (some[:100], some[100:]):
        round_rows(torch.from_numpy(part).to(DEVICE), "fp16", room)
    norm = np.linalg.norm(some.astype(np.float64), axis=1).max()
    assert norm <= float(room.largest_2[0]) <= norm * (1 + 1e-11)
    assert (room.norm_S[100:] == 0).all() and (room.low_SP[100:] == 0).all()
    some[7, 3] = np.nan
    round_rows(torch.from_numpy(some).to(DEVICE), "fp16", room)
    assert room.largest_2.tolist() == [np.inf, np.inf]


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), k=st.integers(1, 6))
def test_hints_reach_what_they_reach_on_a_cpu(seed, k):
    """Hints may be doubled, missing, excluded, outside of the window, or no rows of the corpus."""
    rng = np.random.default_rng(seed)
    query, corpus = (vectors(rng, "ties", n, 17) for n in (5, 40))
    scores = pair_scores(query, corpus, *np.divmod(np.arange(200), 40))
    window = window_of(5, 40, **a_window(rng, scores, 5, 40))
    hint_QC = rng.integers(-1, 45, (5, 9))
    there = torch.from_numpy(corpus).to(DEVICE)
    job = GpuSearch(query, there, k, window, "fp16", SMALL, DEVICE, True)
    reached_Q = hinted_bound(GpuBlock.of(job, np.arange(5)), hint_QC).cpu().numpy()
    assert np.array_equal(reached_Q, reached_by_hints(query, corpus, k, window, hint_QC))
    found = mine_topk_gpu(query, there, k, window, hint_QC=hint_QC, tiling=SMALL)
    assert_same(found, mine_topk_reference(query, corpus, k, window))


@pytest.mark.parametrize("gear", GEARS)
def test_words_equal_their_reference_twin(gear):
    rng = np.random.default_rng(0)
    query, rows = (rounded(vectors(rng, "ties", n, 31), gear) for n in (40, 200))
    count = len(query.low_SP)
    edges = [torch.full((count,), float(edge), device=DEVICE) for edge in (-3.5, 7.5, 0, 0)]
    scores = first_pass_scores(query, rows).float()
    scores[:, 200:] = torch.nan
    expected = band_words_reference(scores, Band(*edges), padding().bins)
    assert torch.equal(band_words(query, rows, 200, Band(*edges), None), expected)
    counted = Counts.zeros(count, DEVICE, with_floor=True)
    band = Band(*edges[:2], *(torch.full_like(edges[0], edge) for edge in (-1.5, 2.5)))
    for _ in range(2):  # a pass adds to what others counted
        band_words(query, rows, 200, band, counted)
    assert torch.equal(counted.above_B, 2 * (scores > 7.5).sum(1))
    assert torch.equal(counted.floor_B, 2 * (scores > 2.5).sum(1))
    assert torch.equal(counted.near_B, 2 * ((scores >= -1.5) & (scores <= 2.5)).sum(1))
    best_BW = best_of_bins(query, rows, 200, band.high_B)
    inside = torch.where(scores <= 7.5, scores, -torch.inf)
    bins = inside.reshape(count, -1, 32, padding().bins)
    torch.testing.assert_close(best_BW, bins.amax(2).flatten(1), rtol=1e-6, atol=0)
    row_BF = torch.empty(40, 256, dtype=torch.int32, device=DEVICE)
    count_B = torch.empty(40, dtype=torch.int32, device=DEVICE)
    list_rows(expected, row_BF, count_B)
    for q in range(40):
        inside = ((scores[q] >= -3.5) & (scores[q] <= 7.5)).nonzero()[:, 0].tolist()
        assert sorted(row_BF[q, : count_B[q]].tolist()) == inside


@pytest.mark.parametrize("dimension", [1, 2, 3, 31, 123, 384, 768, 1000, 4096])
def test_exact_scores_equal_the_fold(dimension):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "any norm", 3, dimension), vectors(rng, "any norm", 8, dimension)
    query[1], corpus[2] = 0.0, -0.0
    pairs = np.divmod(np.arange(24), 8)
    expected = pair_scores(query, corpus, *pairs)
    q, x = (torch.from_numpy(part).to(DEVICE) for part in (query, corpus))
    twin = pair_scores_torch(q[pairs[0]], x[pairs[1]]).cpu().numpy()
    row_BF = torch.arange(8, dtype=torch.int32, device=DEVICE).expand(3, 8).contiguous()
    found = SlabHits(
        row_BF,
        torch.empty(3, 8, device=DEVICE),
        torch.full((3,), 8, dtype=torch.int32, device=DEVICE),
    )
    score_rows(q, x, found)
    kernel = found.score_BF.flatten().cpu().numpy()
    assert twin.tobytes() == expected.tobytes()
    assert kernel.tobytes() == expected.tobytes()


def test_places_of_the_fold_hold_every_product_once():
    for dimension in (*range(1, 70), 384, 1000, 4095):
        places = fold_places(dimension)
        assert sorted(places[places >= 0]) == list(range(dimension))


def test_keys_are_ordered_by_score_then_row():
    scores = [3e38, 1.0, 1.0, 1e-45, 0.0, -0.0, 0.0, -1e-45, -1.0, -np.inf]
    rows = [5, 0, 9, 3, 1, 2, 2**32 - 2, 0, 0, 0]
    keys = order_keys(torch.tensor([scores]), torch.tensor([rows]))[0]
    assert (keys.diff() < 0).all()


@pytest.mark.gpu
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("gear", GEARS)
def test_large_shapes_on_a_gpu(gear, streamed):
    rng = np.random.default_rng(0)
    query, corpus = vectors(rng, "unit", 64, 384), vectors(rng, "unit", 100_000, 384)
    scores = mine_topk_reference(query, corpus, 1000).scores_Qk
    window = {"ceiling_Q": scores[:, 50].copy(), "floor_Q": scores[:, 900].copy()}
    window["exclude"] = exclude_of([range(0, 100_000, 1 + 50 * q) for q in range(1, 65)])
    expected = mine_topk_reference(query, corpus, 64, window_of(len(query), len(corpus), **window))
    checked = window_of(len(query), len(corpus), **window)
    where = corpus if streamed else torch.from_numpy(corpus).cuda()
    assert_same(mine_topk_gpu(query, where, 64, checked, first_pass=gear), expected)


@pytest.mark.gpu
@pytest.mark.parametrize(("k", "dimension"), [(64, 384), (4096, 384), (64, 4096)])
def test_memory_on_a_gpu_does_not_grow_with_the_corpus(k, dimension):
    query = torch.randn(20_000, dimension, device="cuda")
    peaks = []
    for rows in (40_000, 40_000, 120_000):  # the first one tunes the tiles, which takes memory
        corpus = torch.randn(rows, dimension, device="cuda")
        window = window_of(len(query), len(corpus), **NONE)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        mine_topk_gpu(query, corpus, k, window)
        peaks.append(torch.cuda.max_memory_allocated() - before)
        del corpus
    assert peaks[2] <= peaks[1] + (1 << 20)
    assert peaks[2] <= 256 << 20
