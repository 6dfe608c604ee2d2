"""MarginMSE and KL against loops in float64; pairs that count by their grade; the guide's mask."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_infonce import unit

from whet.config import DistillConfig, LossConfig
from whet.loss.distillation import Taught, distill_kl, margin_mse
from whet.loss.gradcache import cached_step
from whet.loss.guided import GuideVectors, without_likely_positives
from whet.loss.infonce import Targets, info_nce, matryoshka_info_nce
from whet.loss.objective import step_loss
from whet.model.encoder import Encoder
from whet.model.inference import token_batches

T = 0.1


def batch(seed, pairs=5, candidates=9, width=4):
    """Vectors, and a teacher who has scored most of what is listed."""
    rng = np.random.default_rng(seed)
    query_BD, doc_CD = unit(rng, pairs, 6), unit(rng, candidates, 6)
    column_BL = torch.from_numpy(rng.integers(0, candidates, (pairs, width)))
    score_BL = torch.from_numpy(rng.normal(size=(pairs, width)) * 3)
    score_BL[torch.from_numpy(rng.random((pairs, width)) < 0.3)] = math.nan
    return query_BD, doc_CD, Taught(column_BL, score_BL)


def scored(taught, b):
    """The places of pair b that are compared with its own document."""
    if math.isnan(taught.score_BL[b, 0]):
        return []
    width = taught.score_BL.shape[1]
    return [place for place in range(1, width) if not math.isnan(taught.score_BL[b, place])]


def loop_margin_mse(query_BD, doc_CD, taught):
    squares = []
    for b in range(len(query_BD)):
        student = [float(query_BD[b] @ doc_CD[c]) / T for c in taught.column_BL[b]]
        teacher = taught.score_BL[b].tolist()
        squares += [
            ((student[0] - student[n]) - (teacher[0] - teacher[n])) ** 2 for n in scored(taught, b)
        ]
    return sum(squares) / len(squares) if squares else 0.0


def loop_kl(query_BD, doc_CD, taught):
    each = []
    for b in range(len(query_BD)):
        places = [0, *scored(taught, b)]
        if len(places) == 1:
            continue
        student = [float(query_BD[b] @ doc_CD[taught.column_BL[b, place]]) / T for place in places]
        teacher = [float(taught.score_BL[b, place]) for place in places]
        p = [math.exp(t) / sum(map(math.exp, teacher)) for t in teacher]
        q = [math.exp(s) / sum(map(math.exp, student)) for s in student]
        each.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    return sum(each) / len(each) if each else 0.0


LOOPS = [(margin_mse, loop_margin_mse), (distill_kl, loop_kl)]


@pytest.mark.parametrize(("loss", "loop"), LOOPS)
@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5))
def test_equals_the_loop(loss, loop, seed, pairs, width):
    given_batch = batch(seed, pairs=pairs, width=width)
    assert float(loss(*given_batch, temperature=T)) == pytest.approx(
        loop(*given_batch), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("loss", [margin_mse, distill_kl])
def test_the_gradient_is_that_of_differences(loss):
    query_BD, doc_CD, taught = batch(3)
    vectors = query_BD.requires_grad_(), doc_CD.requires_grad_()
    assert torch.autograd.gradcheck(lambda q, d: loss(q, d, taught, temperature=T), vectors)


@pytest.mark.parametrize("loss", [margin_mse, distill_kl])
def test_nothing_scored_is_a_loss_of_zero_and_no_gradient(loss):
    query_BD, doc_CD, taught = batch(4)
    query_BD.requires_grad_()
    none = Taught(taught.column_BL, torch.full_like(taught.score_BL, math.nan))
    value = loss(query_BD, doc_CD, none, temperature=T)
    value.backward()
    assert value.item() == 0 and torch.equal(query_BD.grad, torch.zeros_like(query_BD))


@pytest.mark.parametrize("loss", [margin_mse, distill_kl])
def test_a_teacher_who_says_what_the_student_says_teaches_nothing(loss):
    query_BD, doc_CD, taught = batch(5)
    student_BL = torch.einsum("bd,bld->bl", query_BD, doc_CD[taught.column_BL]) / T + 7
    agrees = Taught(taught.column_BL, student_BL)
    assert float(loss(query_BD, doc_CD, agrees, temperature=T)) == pytest.approx(0, abs=1e-12)


def targets_of(pairs, candidates, **known):
    return replace(
        Targets.of_mask(torch.arange(pairs), torch.eye(pairs, candidates, dtype=torch.bool)),
        **known,
    )


@pytest.mark.parametrize("symmetric", [False, True])
def test_pairs_count_by_their_gain(symmetric):
    """As if each pair stood in the mean so often; without gains the bits are those of before."""
    query_BD, doc_CD, _ = batch(6)
    gain_B = torch.tensor([1.0, 3.0, 2.0, 1.0, 7.0], dtype=torch.float64)
    options = {"temperature": T, "symmetric": symmetric}
    found = info_nce(query_BD, doc_CD, targets_of(5, 9, gain_B=gain_B), **options)
    one_hot = torch.eye(5, dtype=torch.float64)
    each = [
        float(info_nce(query_BD, doc_CD, targets_of(5, 9, gain_B=one), **options))
        for one in one_hot
    ]
    assert float(found) == pytest.approx(
        float(gain_B @ torch.tensor(each, dtype=torch.float64)) / 14, rel=1e-12
    )
    alike = info_nce(query_BD, doc_CD, targets_of(5, 9, gain_B=torch.ones(5).double()), **options)
    plain = info_nce(query_BD, doc_CD, targets_of(5, 9), **options)
    assert float(alike) == pytest.approx(float(plain), rel=1e-12)
    always = info_nce(query_BD, doc_CD, targets_of(5, 9, gain_B=gain_B), **options, fused="always")
    assert torch.equal(always, found)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 6), st.floats(0, 0.5))
def test_the_guide_leaves_out_what_it_scores_above_the_positive(seed, pairs, margin):
    rng = np.random.default_rng(seed)
    candidates = pairs + 4
    guide = GuideVectors(unit(rng, pairs, 3), unit(rng, candidates, 3))
    known_BC = torch.from_numpy(rng.random((pairs, candidates)) < 0.2)
    known_BC |= torch.eye(pairs, candidates, dtype=torch.bool)
    before = replace(Targets.of_mask(torch.arange(pairs), known_BC), guide=guide)
    found = without_likely_positives(before, margin).mask(candidates)
    for b in range(pairs):
        own = float(guide.query_BD[b] @ guide.doc_CD[b])
        for c in range(candidates):
            likely = float(guide.query_BD[b] @ guide.doc_CD[c]) > own - margin + 1e-12
            surely_not = float(guide.query_BD[b] @ guide.doc_CD[c]) < own - margin - 1e-12
            assert bool(found[b, c]) == bool(known_BC[b, c]) or likely or c == b
            assert found[b, c] or (not known_BC[b, c] and not likely)
            assert not (surely_not and not known_BC[b, c] and found[b, c])


def test_without_a_guide_targets_are_the_same_object():
    targets = targets_of(2, 3)
    assert without_likely_positives(targets, 0.1) is targets


def objective(vector_ND, taught, pairs, config):
    query_BD, doc_CD = vector_ND[:pairs], vector_ND[pairs:]
    loss, distill = config
    targets = targets_of(pairs, len(doc_CD), taught=taught)

    def contrast():
        return matryoshka_info_nce(
            query_BD, doc_CD, targets, dims=loss.matryoshka_dims, temperature=loss.temperature
        )

    return step_loss(query_BD, doc_CD, targets, loss=loss, distill=distill, info_nce=contrast)


@pytest.mark.parametrize("name", ["margin_mse", "distill_kl"])
def test_in_chunks_the_gradient_is_that_of_the_whole_batch(tiny_model, name):
    """With prefixes and a share of InfoNCE as well."""
    encoder = Encoder.load(str(tiny_model))
    pairs, texts = 4, [f"bace di{n} fogu" for n in range(12)]
    column_BL = torch.tensor([[b, 4 + b % 4, (b + 1) % 4] for b in range(pairs)])
    taught = Taught(column_BL, torch.tensor([[2.0, -1.0, 0.5]] * pairs))
    config = (
        LossConfig(name=name, matryoshka_dims=[8], temperature=0.5),
        DistillConfig(weight=0.7),
    )
    tokens = encoder.tokenize(texts, "document")
    chunks = list(token_batches([len(ids) for ids in tokens], 20))
    grads = []
    for cached in (False, True):
        encoder.zero_grad()
        encoder.train()
        torch.manual_seed(5)

        def loss_of(vector_ND):
            vector_ND.requires_grad_()
            loss = objective(vector_ND, taught, pairs, config)
            loss.backward()
            return loss.detach(), vector_ND.grad

        cached_step(
            lambda rows: encoder.forward_tokens([tokens[row] for row in rows]),
            chunks,
            loss_of,
            torch.Tensor.backward,
            cached=cached,
            device=torch.device("cpu"),
        )
        grads.append(
            torch.cat([p.grad.ravel() for p in encoder.parameters() if p.grad is not None])
        )
    assert len(chunks) > 2 and grads[0].abs().max() > 0
    assert torch.allclose(grads[0], grads[1], rtol=0, atol=1e-5 * float(grads[0].abs().max()))


def test_a_share_of_each():
    query_BD, doc_CD, taught = batch(7)
    vector_ND = torch.cat([query_BD, doc_CD])
    parts = [
        float(objective(vector_ND, taught, 5, (LossConfig(name=name), DistillConfig(weight=share))))
        for name, share in (("margin_mse", 1.0), ("infonce", 1.0), ("margin_mse", 0.25))
    ]
    assert parts[2] == pytest.approx(0.25 * parts[0] + 0.75 * parts[1], rel=1e-12)
