"""Words and vectors divided over processes are searched as by one process, to the bit."""

from pathlib import Path

import numpy as np
import pytest
from jobs import word_searches
from processes import in_processes

from whet.data.table import write_table
from whet.evaluation.lexical import counts

RARE = [f"w{number}" for number in range(30)]


def made(random, count):
    chances = 1 / np.arange(1, len(RARE) + 1)
    sizes = random.integers(0, 9, count)
    return [" ".join(random.choice(RARE, size, p=chances / chances.sum())) for size in sizes]


def case(seed, documents, weight, k, cuts):
    """Vectors of which many are equal, and of which float32 sums differ by their order."""
    random = np.random.default_rng(seed)
    few_FD = random.normal(size=(max(1, documents // 3), 24)).astype(np.float32)
    document_ND = few_FD[random.integers(0, len(few_FD), documents)]
    query_QD = random.normal(size=(70, 24)).astype(np.float32)
    return made(random, 70), query_QD, document_ND, weight, k, cuts


NIGHTLY = [pytest.mark.slow, pytest.mark.nightly]


@pytest.mark.parametrize("processes", [3, pytest.param(5, marks=NIGHTLY)])
def test_parts_are_searched_as_the_whole(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHET_CACHE", str(tmp_path))
    monkeypatch.setattr(counts, "BLOCK", 17)  # as `word_searches` has it
    texts = made(np.random.default_rng(5), 200)
    table = str(tmp_path / "corpus.arrow")
    write_table(Path(table), ((f"d{row}", text) for row, text in enumerate(texts)))
    cuts = ([1.0] * 5, [1.0, 0.1, 2.0, 0.7, 1.0], [1.0, 0.0, 1.0, 3.0, 0.0])  # one has nothing
    cases = [
        case(seed, 200, weight, k, cuts[seed % 3])
        for seed, (weight, k) in enumerate([(0.3, 10), (0.05, 3), (2.0, 50), (0.3, 400)])
    ]
    in_parts = in_processes(processes, "jobs", "word_searches", table, cases)
    wanted = word_searches(table, cases)  # by one process, which has all
    assert in_parts == [wanted] * processes
