"""A corpus divided over processes is mined as one process mines the whole, to the bit."""

import numpy as np
import pytest
from jobs import outcome
from processes import in_processes

from whet.config import MiningConfig
from whet.mining.miner import mine
from whet.types import Embeddings, Positives

POLICIES = [
    {},
    {"num_negatives": 5, "rank_window": "raw", "range_min": 2, "range_max": 40},
    {"num_negatives": 3, "reference": "each", "on_short": "random", "max_score": 0.3},
    {"num_negatives": 4, "sampling": "random", "relative_margin": 0.2},
    {"num_negatives": 4, "sampling": "random", "max_score": -0.2, "relative_margin": None},
    {"num_negatives": 2, "min_score": 0.1, "backend": "blas"},
    {"num_negatives": 500, "relative_margin": None},
]


def case(seed, queries=23, docs=131, dimension=12):
    """Vectors with many equal scores, positives with twins, two queries without any."""
    rng = np.random.default_rng(seed)

    def vectors(count):
        return np.round(rng.normal(size=(count, dimension)) * 2).astype(np.float32) / 8

    counts = np.minimum(rng.integers(0, 4, queries), docs)
    rows = [np.sort(rng.choice(docs, count, replace=False)) for count in counts]
    group_of_N = np.arange(docs)
    twins = rng.choice(docs // 2, min(10, docs // 2), replace=False)
    group_of_N[twins + docs // 2] = twins
    positives = Positives(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate(rows).astype(np.int64),
        group_of_N,
    )
    return (
        Embeddings([f"q{i}" for i in range(queries)], vectors(queries)),
        Embeddings([f"d{i}" for i in range(docs)], vectors(docs)),
        positives,
    )


def cases(processes):
    few = [(*case(3, docs=docs), {"num_negatives": 2}, [1.0] * 8) for docs in (2, 3, 5)]
    cuts = [1.0, 0.1, 2.0, 0.7, 1.0][:processes]
    return [(*case(seed), policy, cuts) for seed in (0, 1) for policy in POLICIES] + few


NIGHTLY = [pytest.mark.slow, pytest.mark.nightly]


@pytest.mark.parametrize("processes", [2, pytest.param(5, marks=NIGHTLY)])
def test_parts_of_a_corpus_are_mined_as_the_whole(processes):
    given = cases(processes)
    wanted = [outcome(mine(*case[:3], MiningConfig(**case[3]))) for case in given]
    for found in in_processes(processes, "jobs", "minings", given):
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert one == other, (number, given[number][3])


def test_a_fault_in_one_part_is_told_by_all():
    corpus = case(0)[1]
    corpus.vectors[100, 3] = np.nan
    for said in in_processes(2, "jobs", "search_with_nan", corpus):
        assert "'d100'" in said
    assert in_processes(2, "jobs", "failing") == ["only here"] * 2
