"""Which pairs a step sees is a function of (seed, step), and each pair is seen once an epoch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from whet.training.batches.order import Order


@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 2**40), st.integers(0, 5))
def test_every_pair_once_an_epoch(pairs, batch_size, seed, epoch):
    order = Order(pairs, batch_size, seed)
    first = epoch * order.steps_per_epoch
    steps = [order.step(first + step) for step in range(order.steps_per_epoch)]
    assert sorted(np.concatenate(steps)) == list(range(pairs))
    assert all(len(step) == batch_size for step in steps[:-1])
    assert order.epoch_of(first) == order.epoch_of(first + len(steps) - 1) == epoch


def test_epochs_and_seeds_differ_and_repeat():
    order = Order(100, 10, seed=3)
    assert np.array_equal(order.shuffled(1), Order(100, 10, seed=3).shuffled(1))
    assert not np.array_equal(order.shuffled(0), order.shuffled(1))
    assert not np.array_equal(order.shuffled(0), Order(100, 10, seed=4).shuffled(0))
