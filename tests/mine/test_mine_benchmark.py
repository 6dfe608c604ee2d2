"""The mining benchmark runs, checks every search it times, and the check sees what is wrong."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "mine"
GROUPS = {"search", "k", "filters", "warm refresh", "growth", "outside the search", "end to end"}


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that makes problems and checks answers."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import cases

    return cases


@pytest.mark.parametrize("kind", ["random", "clustered", "weak"])
def test_the_exact_answer_is_that_of_the_reference(cases: ModuleType, kind: str) -> None:
    from whet_kernels.topk.reference import mine_topk_reference
    from whet_kernels.topk.window import Exclude, window_of

    given = cases.problem(kind, 20, 3000, 48)
    query_QD, corpus_ND, positive_Q, ceiling_Q = (part.numpy() for part in given)
    window = {"ceiling_Q": ceiling_Q, "exclude": Exclude(np.arange(21), positive_Q)}
    for filters, options in ((True, window), (False, {})):
        expected = mine_topk_reference(
            query_QD, corpus_ND, 10, window_of(len(query_QD), len(corpus_ND), **options)
        ).rows_Qk
        answer = cases.exact_answer(given, 10, filters)
        np.testing.assert_array_equal(answer.rows_Qk, expected)
        assert cases.check(given, answer, expected) == (0, 0)


def test_the_check_sees_wrong_ids_short_queries_repeats_and_disorder(cases: ModuleType) -> None:
    given = cases.problem("random", 20, 3000, 48)
    answer = cases.exact_answer(given, 10, True)
    worse = cases.exact_answer(given, 40, True).rows_Qk[:, -1]

    def verdict(query: int, columns: list[int], rows: list[int]) -> tuple[int, int]:
        got = answer.rows_Qk.copy()
        got[query, columns] = rows
        return tuple(cases.check(given, answer, got))

    best = answer.rows_Qk[3]
    assert verdict(3, [9], [worse[3]]) == (1, 0)
    assert verdict(3, [9], [given.positive_Q[3]])[0] >= 1  # excluded, and over the ceiling
    assert verdict(3, [9], [-1]) == (0, 1)
    assert verdict(3, [9], [best[8]])[0] >= 1
    assert verdict(3, [0, 5], [best[5], best[0]])[0] >= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_quick_run_fills_the_table_with_exact_rows(tmp_path: Path) -> None:
    results, run = tmp_path / "results.csv", str(FOLDER / "run.py")
    command = [sys.executable, run, "--only", "cpu", "--quick", "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with results.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} >= GROUPS
    for row in rows:
        ours, floor = row["what"].startswith("whet"), row["what"].startswith("floor")
        if ours or not (floor or row["data"] == "weak"):  # where others filter too late
            assert row["exact"] == "yes", row
        if ours and row["group"] != "k":  # 256 of a small corpus may not be allowed
            assert row["full"] == f"{row['Q']}/{row['Q']}", row
        start = f"| {row['what']} | {row['data']} | {int(row['Q']):,} | {int(row['N']):,} |"
        assert start in done.stdout
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8").startswith("<svg")
