"""How work is divided over processes, and that one process alone needs no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whet.processes.world
from whet.processes.world import World, concatenated, exchanged, from_leader, share, together


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5000), st.lists(st.floats(0.1, 100), min_size=1, max_size=9), st.booleans())
def test_shares_follow_each_other_and_the_rates(count: int, rates: list[float], even: bool) -> None:
    """Every thing in one share; each within one of its part; equal ones differ by one at most."""
    rates_W = np.ones(len(rates)) if even else np.array(rates)
    parts = [share(count, rates_W, rank=rank) for rank in range(len(rates))]
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(count))
    sizes = np.array([part.stop - part.start for part in parts])
    assert np.abs(sizes - count * rates_W / rates_W.sum()).max() <= 1 + 1e-9
    if even:
        assert sizes.max() - sizes.min() <= 1
        with pytest.MonkeyPatch.context() as patch:
            for rank, part in enumerate(parts):
                patch.setattr(whet.processes.world, "_here", World(rank, len(rates)))
                assert share(count) == part


def test_one_process_speaks_to_itself() -> None:
    array = np.arange(6).reshape(3, 2)
    assert np.array_equal(exchanged(array), array[None])
    assert np.array_equal(concatenated(array), array)
    for do in (together, from_leader):
        assert do(lambda: 7) == 7
        with pytest.raises(KeyError, match="x"):
            do(lambda: {}["x"])
