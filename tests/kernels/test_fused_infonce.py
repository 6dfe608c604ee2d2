"""The fused loss equals the formula in float64, in value and gradient, on every backend.

Without a GPU the Triton kernels run in Triton's interpreter (tests/conftest.py).
"""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from whet.loss.gradcache import cached_step
from whet.loss.infonce import DENSE_AT_MOST, Targets, matryoshka_info_nce, uses_tiles
from whet_kernels.infonce.fused import choose_loss_backend, fused_info_nce, info_nce_reference

pytestmark = [
    pytest.mark.kernel,
    # The interpreter is numpy, which remarks on the infinities that are meant.
    pytest.mark.filterwarnings("ignore:(divide by zero|overflow) encountered:RuntimeWarning"),
]

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
AWKWARD = (47, 31, 123)
# Tensor cores cut off what they add up where float32 rounds: 10 times the tolerance on a GPU.
FINE = 1e-4 if CUDA else 1e-5
needs_triton = pytest.mark.skipif(
    sys.platform != "linux", reason="Triton is published for Linux only"
)
BACKENDS = ["torch", pytest.param("triton", marks=needs_triton)]


def on(backend):
    return DEVICE if backend == "triton" else torch.device("cpu")


def unit(rng, rows, dims, dtype=torch.float32):
    """Unit vectors with values the type has, so that the oracle sees the same ones."""
    return F.normalize(torch.from_numpy(rng.normal(size=(rows, dims))), dim=1).to(dtype)


def csr(lists):
    offsets = np.cumsum([0, *map(len, lists)])
    columns = np.array(list(itertools.chain(*lists)), np.int64)
    return torch.from_numpy(offsets), torch.from_numpy(columns)


def problem(seed, pairs, docs, dims, *, share=0.1, dtype=torch.float32):
    """Vectors, own columns, and known positives in random order, some twice, own ones not always.

    Few documents make several pairs have the same positive.
    """
    rng = np.random.default_rng(seed)
    column = rng.integers(0, docs, pairs)
    lists = []
    for own in column:
        known = np.flatnonzero(rng.random(docs) < share).tolist()
        known += [int(own)] if rng.random() < 0.7 else []
        known += known[: rng.integers(0, 3)]
        lists.append(rng.permutation(known).astype(np.int64).tolist())
    query, doc = unit(rng, pairs, dims, dtype), unit(rng, docs, dims, dtype)
    return query, doc, torch.from_numpy(column), lists


def oracle(query, doc, column, lists, temperature, symmetric):
    """One pair after the other, in float64."""
    logit = query @ doc.T / temperature
    losses = []
    for b, own in enumerate(column.tolist()):
        against = [c for c in range(len(doc)) if c == own or c not in lists[b]]
        loss = torch.logsumexp(logit[b, against], 0) - logit[b, own]
        if symmetric:
            asking = [o for o in range(len(query)) if o == b or not knows(o, own, column, lists)]
            loss = 0.5 * (loss + torch.logsumexp(logit[asking, own], 0) - logit[b, own])
        losses.append(loss)
    return torch.stack(losses).mean()


def knows(pair, document, column, lists):
    return document in lists[pair] or document == int(column[pair])


def differentiated(function, query, doc):
    """Value and both gradients, in float64 on the CPU."""
    query, doc = query.detach().requires_grad_(), doc.detach().requires_grad_()
    loss = function(query, doc)
    gradients = torch.autograd.grad(loss, (query, doc))
    assert [g.dtype for g in gradients] == [query.dtype, doc.dtype]
    return [part.detach().double().cpu() for part in (loss, *gradients)]


def run(backend, case, *, temperature=0.05, symmetric=False, **options):
    query, doc, column, lists = case
    return differentiated(
        lambda q, d: fused_info_nce(
            q, d, column, csr(lists), temperature=temperature, symmetric=symmetric,
            backend=backend, **options,
        ),
        query.to(on(backend)),
        doc.to(on(backend)),
    )  # fmt: skip


def wanted(case, *, temperature=0.05, symmetric=False):
    query, doc, column, lists = case
    return differentiated(
        lambda q, d: oracle(q, d, column, lists, temperature, symmetric),
        query.double(),
        doc.double(),
    )


def assert_close(found, right, tolerance):
    """The value to a relative tolerance, gradients relative to the largest number of both."""
    largest = max(exact.abs().max() for exact in right[1:])
    assert float(found[0]) == pytest.approx(float(right[0]), rel=tolerance, abs=tolerance)
    for mine, exact in zip(found[1:], right[1:], strict=True):
        assert torch.isfinite(mine).all()
        assert (mine - exact).abs().max() <= tolerance * largest + 1e-12


def float32_tolerance(temperature):
    """More where logits of 1 / temperature leave fewer digits behind the point."""
    return FINE * max(1.0, 0.05 / temperature)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
masks = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@settings(deadline=None, max_examples=60)
@given(shapes, masks, st.floats(0.01, 1), st.booleans(), st.integers(0, 2**31))
def test_torch_equals_the_oracle(shape, share, temperature, symmetric, seed):
    case = problem(seed, *shape, share=share)
    given = {"temperature": temperature, "symmetric": symmetric}
    found = run("torch", case, tile=(7, 11), **given)
    assert_close(found, wanted(case, **given), float32_tolerance(temperature))


@needs_triton
@settings(deadline=None, max_examples=15)
@given(shapes, masks, st.floats(0.01, 1), st.booleans(), st.integers(0, 2**31))
def test_triton_equals_the_oracle(shape, share, temperature, symmetric, seed):
    case = problem(seed, *shape, share=share)
    given = {"temperature": temperature, "symmetric": symmetric}
    found = run("triton", case, tile=(23, 17), **given)
    assert_close(found, wanted(case, **given), float32_tolerance(temperature))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, FINE), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)],
)
def test_awkward_shape_in_every_type(dtype, tolerance, backend, symmetric):
    """bfloat16 and float16 gradients are as good as numbers of 8 and 11 bits can be; the loss is
    summed in float32 and better than that.
    """
    case = problem(3, *AWKWARD, dtype=dtype)
    found, right = run(backend, case, symmetric=symmetric), wanted(case, symmetric=symmetric)
    assert_close(found, right, tolerance)
    assert float(found[0]) == pytest.approx(float(right[0]), rel=FINE)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_products_in_bfloat16_of_float32_vectors(backend, symmetric):
    """The loss is exactly that of the rounded vectors, its gradients are float32 and not rounded
    to 8 bits; against the vectors as they were, a logit is off by some 0.05 / sqrt(D). 123
    dimensions, so that the kernels fill up the rows and must cut the gradients again.
    """
    query, doc, column, lists = case = problem(17, *AWKWARD)
    found = run(backend, case, symmetric=symmetric, products=torch.bfloat16)
    rounded = (query.bfloat16().float(), doc.bfloat16().float(), column, lists)
    exact = wanted(rounded, symmetric=symmetric)
    assert float(found[0]) == pytest.approx(float(exact[0]), rel=FINE)
    # On a GPU the weights that similarities become have 8 bits, but not what they add up to.
    assert_close(found, exact, 1e-2 if CUDA else FINE)
    assert_close(found, wanted(case, symmetric=symmetric), 1e-2)
    logit, kept = query @ doc.T / 0.05, rounded[0] @ rounded[1].T / 0.05
    assert float((logit - kept).std()) == pytest.approx(0.05 / 123**0.5, rel=0.1)


@pytest.mark.parametrize("symmetric", [False, True])
def test_reference_equals_the_oracle(symmetric):
    query, doc, column, lists = case = problem(4, *AWKWARD, dtype=torch.float64)
    found = differentiated(
        lambda q, d: info_nce_reference(
            q, d, column, csr(lists), temperature=0.05, symmetric=symmetric
        ),
        query,
        doc,
    )
    if symmetric:  # the reference takes the list as it is; the others add each pair's own
        lists[:] = [[*known, int(own)] for known, own in zip(lists, column, strict=True)]
        found = differentiated(
            lambda q, d: info_nce_reference(
                q, d, column, csr(lists), temperature=0.05, symmetric=symmetric
            ),
            query,
            doc,
        )
    assert_close(found, wanted(case, symmetric=symmetric), 1e-12)


@needs_triton
@pytest.mark.parametrize("symmetric", [False, True])
def test_backends_agree(symmetric):
    case = problem(5, 90, 70, 40, share=0.3)
    found = run("triton", case, symmetric=symmetric)
    assert_close(found, run("torch", case, symmetric=symmetric), FINE)


@needs_triton
def test_4096_dimensions():
    case = problem(6, 5, 9, 4096)
    assert_close(run("triton", case), wanted(case), FINE)
    assert_close(run("torch", case), wanted(case), FINE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_tiles_do_not_matter(backend, symmetric):
    case = problem(7, *AWKWARD, share=0.3)
    whole = run(backend, case, symmetric=symmetric, tile=(100, 100))
    for tile in [(13, 100), (100, 13), (16, 8)]:
        assert_close(run(backend, case, symmetric=symmetric, tile=tile), whole, FINE)


@needs_triton
@pytest.mark.parametrize("multiprocessors", [2, 3, 100])
def test_splits_of_the_walk_do_not_matter(monkeypatch, multiprocessors):
    """A few pairs against many documents are shared out over the whole device."""
    from whet_kernels.infonce import triton_kernels as fused_infonce_triton

    case = problem(8, 20, 150, 16, share=0.2)
    monkeypatch.setattr(fused_infonce_triton, "_multiprocessors", lambda _: multiprocessors)
    assert_close(run("triton", case), wanted(case), FINE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_run_gives_the_same_bits(backend):
    """Also where many pairs share a document, whose weights are then added up."""
    case = problem(9, 60, 12, 20)
    first, second = (run(backend, case, symmetric=True) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_only_known_positives_beside_its_own(backend, symmetric):
    """Nothing to tell apart: no loss and no gradient, not NaN."""
    query, doc, column, _ = problem(10, 6, 9, 8)
    case = (query, doc, column, [list(range(9))] * 6)
    for part in run(backend, case, symmetric=symmetric, temperature=0.01):
        assert torch.equal(part, torch.zeros_like(part))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_known_positives_far_above_all_else(backend, symmetric):
    """The masked similarities are e^800 times the others: what they would give never shows."""
    rng = np.random.default_rng(11)
    query = unit(rng, 8, 16)
    doc = torch.cat([query * 4, query * 4.01, -query * 4])
    case = (query, doc, torch.arange(8) + 16, [[row, row + 8] for row in range(8)])
    found = run(backend, case, symmetric=symmetric, temperature=0.01)
    assert_close(found, wanted(case, symmetric=symmetric, temperature=0.01), 1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_learned_pair_keeps_its_digits(backend):
    """1 - p of a pair with p = 1 - 1e-9 is 0 in float32; the gradient is not."""
    query = torch.tensor([[1.0, 0.0]])
    doc = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    case = (query, doc, torch.tensor([0]), [[0]])
    found, right = (
        f(case, temperature=0.048) for f in (lambda *a, **o: run(backend, *a, **o), wanted)
    )
    assert 0 < float(right[0]) < 1e-8
    assert float(found[0]) == pytest.approx(float(right[0]), rel=1e-4)
    assert torch.allclose(found[2], right[2], rtol=1e-4, atol=0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_gradcheck(symmetric):
    query, doc, column, lists = problem(12, 7, 9, 5, share=0.3, dtype=torch.float64)

    def loss(q, d):
        return fused_info_nce(
            q, d, column, csr(lists), temperature=0.2, symmetric=symmetric, tile=(3, 4)
        )

    assert torch.autograd.gradcheck(loss, (query.requires_grad_(), doc.requires_grad_()))


def test_gradient_of_one_side_only():
    query, doc, column, lists = case = problem(13, 9, 9, 8)
    query.requires_grad_()
    (3 * fused_info_nce(query, doc, column, csr(lists), temperature=0.05)).backward()
    assert torch.allclose(query.grad.double(), 3 * wanted(case)[1], atol=1e-5)


def test_gradcache_on_the_fused_loss_equals_the_whole_batch():
    """Chunks of texts outside, tiles of similarities inside, prefixes of the vector too."""
    rng = np.random.default_rng(14)
    text = unit(rng, 60, 12)
    column, lists = torch.arange(30), [[row, (row + 3) % 30] for row in range(30)]
    targets = Targets(column, *csr(lists))

    def gradient(fused, *, cached):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Dropout(0.1))

        def forward(rows):
            return F.normalize(model(text[rows]), dim=1)

        def loss_of(vector):
            vector.requires_grad_()
            loss = matryoshka_info_nce(
                vector[:30], vector[30:], targets, dims=[4], temperature=0.05, fused=fused
            )
            loss.backward()
            return loss.detach(), vector.grad

        chunks = np.split(np.arange(60), 4)
        loss = cached_step(
            forward, chunks, loss_of, torch.Tensor.backward, cached=cached, device=DEVICE
        )
        return loss, model[0].weight.grad

    loss, whole = gradient("never", cached=False)
    fused_loss, cached = gradient("always", cached=True)
    assert float(fused_loss) == pytest.approx(float(loss), rel=1e-6)
    assert (cached - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_auto_holds_no_large_matrix():
    assert not uses_tiles("auto", DENSE_AT_MOST) and uses_tiles("auto", DENSE_AT_MOST + 1)
    assert uses_tiles("always", 1) and not uses_tiles("never", 1 << 40)


MEMORY = """
import re, torch
from whet_kernels.infonce.fused import fused_info_nce

def peak():  # KiB; not ru_maxrss, which a process takes over from the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

def loss(pairs):
    query = torch.nn.functional.normalize(torch.randn(pairs, 16), dim=1).requires_grad_()
    doc = torch.nn.functional.normalize(torch.randn(pairs, 16), dim=1).requires_grad_()
    column, offsets = torch.arange(pairs), torch.arange(pairs + 1) * 2
    known = torch.stack([column, (column + 1) % pairs], 1).ravel()
    fused_info_nce(query, doc, column, (offsets, known), temperature=0.05).backward()

loss(3000)  # libraries and buffers
before = peak()
loss(16_384)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_far_below_one_matrix():
    """16,384 x 16,384 similarities would be 1,024 MiB, and the plain loss holds several."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) / 1024 < 64


def test_triton_is_not_imported_before_it_is_used():
    code = "import sys, whet_kernels.infonce.fused as f; exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_choice_of_a_backend_has_a_reason():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_loss_backend("auto", cpu, torch.float32) == (
        "torch", "the vectors are on cpu, the Triton kernels need CUDA"
    )  # fmt: skip
    assert choose_loss_backend("auto", cuda, torch.float64)[0] == "torch"
    assert choose_loss_backend("torch", cuda, torch.float32) == ("torch", "asked for")
    with pytest.raises(ValueError, match=r"backend=tritton is not known\. Choose from auto"):
        choose_loss_backend("tritton", cpu, torch.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"doc_CD": torch.ones(3, 5)}, "must be .B, D. and .C, D."),
        ({"doc_CD": torch.ones(3, 4).double()}, "Bring both to one type"),
        ({"column_B": torch.tensor([0])}, "2 queries need 2 columns and 3 offsets"),
        ({"column_B": torch.tensor([0, 3])}, "column_B must lie in 0 to 2"),
        ({"known": (torch.tensor([0, 1, 2]), torch.tensor([0, -1]))}, "known columns must lie"),
        ({"temperature": 0.0}, "must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    asked = {
        "query_BD": torch.ones(2, 4),
        "doc_CD": torch.ones(3, 4),
        "column_B": torch.tensor([0, 1]),
        "known": (torch.tensor([0, 1, 2]), torch.tensor([0, 1])),
        "temperature": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        fused_info_nce(**{**asked, **change})


@needs_triton
def test_triton_refuses_float64():
    with pytest.raises(ValueError, match="Choose backend=torch for float64"):
        run("triton", problem(15, 3, 3, 4, dtype=torch.float64))


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="needs a CUDA GPU")
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, FINE), (torch.bfloat16, 2e-2)])
def test_real_sizes_on_a_gpu(dtype, tolerance, symmetric):
    """Many blocks and several tiles, the same bits twice, against float64."""
    rng = np.random.default_rng(16)
    pairs, docs = 3001, 5003
    case = unit(rng, pairs, 384, dtype), unit(rng, docs, 384, dtype), torch.arange(pairs)
    lists = [[row, (row * 7) % docs] for row in range(pairs)]
    first, second = (
        run("triton", (*case, lists), symmetric=symmetric, tile=(2048, 2048)) for _ in range(2)
    )
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    right = differentiated(
        lambda q, d: info_nce_reference(
            q, d, case[2].cuda(), tuple(part.cuda() for part in csr(lists)),
            temperature=0.05, symmetric=symmetric,
        ),
        case[0].double().cuda(),
        case[1].double().cuda(),
    )  # fmt: skip
    assert_close(first, right, tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="needs a CUDA GPU")
def test_65536_pairs_in_a_gibibyte():
    query, doc = (
        F.normalize(torch.randn(65_536, 768, device="cuda"), dim=1).bfloat16().requires_grad_()
        for _ in range(2)
    )
    column = torch.arange(65_536, device="cuda")
    known = torch.arange(65_537, device="cuda"), column
    torch.cuda.reset_peak_memory_stats()
    fused_info_nce(query, doc, column, known, temperature=0.05).backward()
    assert torch.cuda.max_memory_allocated() < 1 << 30
