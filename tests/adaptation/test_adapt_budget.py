"""`whet adapt budget=`: all documents where there is time, else the nearest by words, and said."""

from __future__ import annotations

import itertools
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_adapt_plan import PLACE, RATES, SOME

import whet
from whet.adaptation.planned import planner, within
from whet.adaptation.planned.costs import cost_of
from whet.adaptation.planned.measured import AdaptRates
from whet.adaptation.planned.planner import AdaptPlan
from whet.adaptation.planned.within import AIM, RESERVE, budget_of, nearest_first
from whet.config.ranges import budget_seconds
from whet.errors import ConfigError
from whet.evaluation.lexical import Words
from whet_launch.cli.main import main

WORDS = [a + b for a in "ba ce di fo gu".split() for b in "ka le mi no pu".split()]


def plan(search: str = "hybrid", **changes: Any) -> AdaptPlan:
    """Of 50,000 documents, 0.2 s each to encode: nearly three hours."""
    amounts = replace(SOME, **changes)
    costs = (cost_of(amounts, RATES, PLACE),)
    return AdaptPlan("it", search, amounts, RATES, PLACE, costs, own_prices=False, reranks=False)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command began ten seconds ago."""
    monkeypatch.setattr(within, "clock", lambda: 10.0)


@pytest.mark.usefixtures("still")
def test_enough_time_is_for_all_and_less_for_some() -> None:
    every = plan()
    needed_s = 10 + every.now.seconds
    enough = budget_of(every, f"{int(needed_s / (1 - RESERVE)) + 1}s", start_s=0.0)
    assert enough.whole and enough.all_s == pytest.approx(needed_s)
    assert "all 50,000 documents" in str(enough)
    less = budget_of(every, "30m", start_s=0.0)
    assert not less.whole and less.stop_s < AIM * 1800
    assert 0.8 * AIM * 1800 < less.some * 0.2 < AIM * 1800
    assert f"about {less.some:,} of 50,000 documents" in str(less)


@pytest.mark.usefixtures("still")
def test_a_matrix_is_not_learned_among_some() -> None:
    with pytest.raises(ConfigError, match=r"Give budget=\d+m, or leave search=vectors out") as no:
        budget_of(plan("vectors", by_words=False), "30m", start_s=0.0)
    (enough,) = re.findall(r"Give budget=(\d+m)", str(no.value))
    assert budget_of(plan("vectors", by_words=False), enough, start_s=0.0).whole


@given(seconds=st.integers(1, 400))
def test_the_least_that_works_works(seconds: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(within, "clock", lambda: 10.0)
        try:
            found = budget_of(plan(), f"{seconds}s", start_s=0.0)
        except ConfigError as error:
            (least,) = re.findall(r"about budget=(\d+m), for 500 documents", str(error))
            assert budget_seconds(least) > seconds
            assert not budget_of(plan(), least, start_s=0.0).whole
        else:
            assert found.some >= 500 and 16 <= found.at_once <= 8192


@given(st.integers(0, 9), st.integers(1, 40), st.booleans())
def test_first_places_of_all_queries_come_first(seed: int, documents: int, drawn: bool) -> None:
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, 4)) for _ in range(documents)]
    asked = [" ".join(random.choice(WORDS, 2)) for _ in range(5)]
    words = Words(texts)
    drawn_S = random.permutation(documents)[:3] if drawn else np.empty(0, np.int64)
    order_N = nearest_first(words, asked, drawn_S, seed=seed)
    assert sorted(order_N.tolist()) == list(range(documents))
    assert order_N[: len(drawn_S)].tolist() == drawn_S.tolist()
    best_Q = words.best(asked, 1)[1][:, 0]
    firsts = list(dict.fromkeys([*drawn_S.tolist(), *best_Q[best_Q >= 0].tolist()]))
    assert order_N[: len(firsts)].tolist() == firsts
    assert np.array_equal(order_N, nearest_first(words, asked, drawn_S, seed=seed))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 texts in the words of the tiny model, each another, and a log of 60 queries."""
    random = np.random.default_rng(11)
    home = tmp_path_factory.mktemp("within")
    (home / "texts").mkdir()
    for number in range(200):
        text = " ".join(random.choice(WORDS, 8))
        (home / "texts" / f"{number:03}.txt").write_text(f"{text}.\n")
    asked = dict.fromkeys(" ".join(random.choice(WORDS, 3, replace=False)) for _ in range(80))
    (home / "log.txt").write_text("\n".join(list(asked)[:60]) + "\n")
    return home


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that is measured to take a second for a document, whose cache is empty, and whose
    clock shows 20 s more whenever it is looked at: a budget of 60s has time for two looks.
    """
    monkeypatch.setenv("WHET_CACHE", str(tmp_path / "cache"))
    measured = planner.probe_adapt

    def slower(*given: Any, **named: Any) -> AdaptRates:
        return replace(measured(*given, **named), token_s=1 / given[3].corpus.tokens)

    began, ticks = time.monotonic(), itertools.count(1)
    monkeypatch.setattr(planner, "probe_adapt", slower)
    monkeypatch.setattr(within, "LEAST", 10)
    monkeypatch.setattr(within, "clock", lambda: began + 20.0 * next(ticks))


@pytest.mark.usefixtures("slow")
def test_what_fits_is_encoded_nearest_by_words_first(
    documents: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """32 of 200 documents; the model is the one that all of them give."""
    words = [f"data={documents / 'texts'}", f"model={tiny_model}"]
    words += [f"queries={documents / 'log.txt'}"]
    assert main(["adapt", *words, "budget=60s", f"output={tmp_path / 'some'}"]) == 0
    told = capsys.readouterr()
    assert "of 200 documents are encoded, the nearest by words first" in told.err
    assert "budget=60s had time to encode 32 of 200 documents" in told.out
    record = json.loads((tmp_path / "some" / "adaptation.json").read_text())
    assert (record["encoded"]["encoded"], record["encoded"]["documents"]) == (32, 200)
    assert record["encoded"]["rest_s"] == pytest.approx(168, rel=0.01)
    assert record["examples"] == [] and record["proof"] is None
    assert "had time to encode 32" in (tmp_path / "some" / "report.html").read_text()
    asked = [json.loads(line)["query"] for line in (tmp_path / "some" / "judge_these.jsonl").open()]
    assert len(set(asked)) == 25 <= len((documents / "log.txt").read_text().splitlines())
    assert main(["adapt", *words, f"output={tmp_path / 'all'}"]) == 0
    counted = [(tmp_path / run / "model" / "words.json").read_text() for run in ("some", "all")]
    assert counted[0] == counted[1]
    assert json.loads((tmp_path / "all" / "adaptation.json").read_text())["encoded"] is None


@pytest.mark.usefixtures("slow")
def test_judged_queries_do_not_decide_among_some(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """And without a log the documents to write a query for are among those encoded."""
    output = str(tmp_path / "run")
    done = whet.adapt(str(tiny_data), model=str(tiny_model), budget="60s", output=output)
    assert done.record["encoded"]["encoded"] < done.record["documents"]
    assert done.record["trained"] is None and done.record["proof"] is None
    assert "judging by them takes the vectors of all documents" in done.record["not_proved"]
    assert "judged queries decide: leave budget out" in done.record["helps"][0]
    wanted = [json.loads(line) for line in (done.folder / "judge_these.jsonl").open()]
    assert len({row["doc_id"] for row in wanted}) == 25


def test_time_for_all_changes_nothing(documents: Path, tiny_model: Path, tmp_path: Path) -> None:
    runs = [
        whet.adapt(
            str(documents / "texts"), model=str(tiny_model), output=str(tmp_path / name), **more
        )
        for name, more in (("without", {}), ("with", {"budget": "5h"}))
    ]
    records = [{**run.record, "next": None} for run in runs]
    assert records[0] == records[1]
    for name in ("model.safetensors", "words.json"):
        assert (runs[0].model / name).read_bytes() == (runs[1].model / name).read_bytes()


def test_no_time_is_refused_before_any_work(
    documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in (["adapt"], ["plan", "adapt"]):
        assert main([*verb, f"data={documents / 'texts'}", "model=none", "budget=45"]) == 2
        assert "budget=45 is no time" in capsys.readouterr().err
