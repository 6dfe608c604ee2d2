"""InfoNCE against a loop in float64, and what the mask must do."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.errors import ConfigError
from whet.loss.infonce import Targets, info_nce, matryoshka_info_nce
from whet.model.pooling import to_unit_length


def unit(rng: np.random.Generator, rows: int, dims: int) -> torch.Tensor:
    return to_unit_length(torch.from_numpy(rng.normal(size=(rows, dims))))


def loop(query_BD, doc_CD, column_B, known_BC, temperature, symmetric):
    """The formula of the docstring, one exponential at a time."""
    sim = query_BD.numpy() @ doc_CD.numpy().T / temperature
    pairs, candidates = sim.shape
    losses = []
    for b in range(pairs):
        own = column_B[b]
        below = sum(
            math.exp(sim[b, c]) for c in range(candidates) if c == own or not known_BC[b, c]
        )
        one = -math.log(math.exp(sim[b, own]) / below)
        if symmetric:
            below = sum(
                math.exp(sim[other, own])
                for other in range(pairs)
                if other == b or not known_BC[other, own]
            )
            one = 0.5 * (one - math.log(math.exp(sim[b, own]) / below))
        losses.append(one)
    return sum(losses) / pairs


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 7), st.integers(0, 9), st.integers(0, 2**31), st.booleans(), st.floats(0.02, 1)
)
def test_equals_the_loop(pairs, extra, seed, symmetric, temperature):
    rng = np.random.default_rng(seed)
    candidates = pairs + extra
    query_BD, doc_CD = unit(rng, pairs, 5), unit(rng, candidates, 5)
    column_B = rng.integers(0, candidates, pairs)
    known_BC = rng.random((pairs, candidates)) < 0.3
    known_BC[np.arange(pairs), column_B] = True
    targets = Targets.of_mask(torch.from_numpy(column_B), torch.from_numpy(known_BC))
    found = info_nce(query_BD, doc_CD, targets, temperature=temperature, symmetric=symmetric)
    wanted = loop(query_BD, doc_CD, column_B, known_BC, temperature, symmetric)
    assert float(found) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_known_positive_gets_no_gradient():
    rng = np.random.default_rng(0)
    query_BD, doc_CD = unit(rng, 1, 4), unit(rng, 3, 4).requires_grad_()
    known_BC = torch.tensor([[True, True, False]])
    targets = Targets.of_mask(torch.tensor([0]), known_BC)
    info_nce(query_BD, doc_CD, targets, temperature=0.1).backward()
    assert torch.equal(doc_CD.grad[1], torch.zeros(4, dtype=torch.float64))
    assert doc_CD.grad[0].abs().sum() > 0 and doc_CD.grad[2].abs().sum() > 0


def test_matryoshka_is_the_mean_over_prefixes():
    rng = np.random.default_rng(1)
    query_BD, doc_CD = unit(rng, 4, 8), unit(rng, 6, 8)
    targets = Targets.of_mask(torch.arange(4), torch.eye(4, 6, dtype=torch.bool))
    found = matryoshka_info_nce(query_BD, doc_CD, targets, dims=[8, 2, 4], temperature=0.1)
    each = [
        info_nce(
            to_unit_length(query_BD[:, :d]), to_unit_length(doc_CD[:, :d]), targets, temperature=0.1
        )
        for d in (8, 2, 4)
    ]
    assert float(found) == pytest.approx(float(sum(each) / 3), rel=1e-12)


def test_prefix_longer_than_the_vector_is_refused():
    targets = Targets.of_mask(torch.tensor([0]), torch.tensor([[True]]))
    with pytest.raises(ConfigError, match=r"matryoshka_dims=\[9\].*8 dimensions. Give lengths"):
        matryoshka_info_nce(torch.ones(1, 8), torch.ones(1, 8), targets, dims=[9], temperature=0.1)


def test_zero_vector_gets_no_gradient():
    vector_BD = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    to_unit_length(vector_BD)[:, 0].sum().backward()
    assert torch.equal(vector_BD.grad[0], torch.zeros(2))
    assert vector_BD.grad[1].abs().sum() > 0
