"""`whet plan adapt`: what it counts, what follows from that, and what it says."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whet
from whet.adaptation.generate.bill import Bill
from whet.adaptation.planned.amounts import AdaptAmounts
from whet.adaptation.planned.costs import ANSWER_S, Surroundings, cost_of
from whet.adaptation.planned.measured import AdaptRates, Line
from whet.adaptation.planned.overview import adapt_plan_text, verdict
from whet.adaptation.planned.planner import AdaptPlan
from whet.plan.machine import Machine
from whet.plan.prices import Price
from whet.plan.workload import TextCount
from whet_launch.cli.main import main

RATES = AdaptRates(
    token_s=1e-3,
    query_token_s=1e-3,
    read_s=1e-5,
    keyed_s=1e-6,
    lookup_s=1e-7,
    words_s={"english": 1e-4, "none": 2e-4},
    words_bytes={"english": 100.0, "none": 150.0},
    frequency_s=1e-6,
    hybrid=Line(1e-3, 1e-7),
    vectors=Line(1e-3, 1e-8),
    words=Line(1e-4, 1e-7),
    shares=Line(0.0, 1e-8),
    cluster_s=1e-8,
    drawn_s=1e-7,
    step_s=0.01,
    making_s=5.0,
    made=3_000,
    made_words=20_000,
    judged_cell_s=1e-7,
    held_bytes=500 << 20,
)
PLACE = Surroundings(
    machine=Machine("cpu", 16 << 30, 16 << 30, flops=1e11, copy_bytes_s=1e10, disk_bytes_s=1e8),
    price=Price("cpu", 0.5, 1e9),
    dimension=384,
    model_bytes=100_000_000,
    opened_s=3.0,
    table_bytes=1_000.0,
    free_bytes=100 << 30,
    requests=8,
)
SOME = AdaptAmounts(
    documents=50_000,
    corpus=TextCount(50_000, 40_000, 200.0),
    uncounted={"english": 50_000},
    language="english",
    log=400,
    query_tokens=10.0,
    sentence_tokens=20.0,
    asked=400,
    compared=200,
    by_words=True,
)
TRAINED = replace(
    SOME, by_words=False, makes=True, given=400, uncounted={"english": 50_000, "none": 50_000}
)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 texts, which the tiny model knows the words of, and a log of 320 queries."""
    random = np.random.default_rng(4)
    words = [a + b for a in "ba ce di fo gu".split() for b in "ka le mi no pu".split()]
    home = tmp_path_factory.mktemp("planned")
    (home / "texts").mkdir()
    for number in range(80):
        a, b, c = random.choice(words, 3, replace=False)
        text = f"The {a} is of the {b}.\nIt is in the {c}, and not in the {a}.\n"
        (home / "texts" / f"{number:02}.txt").write_text(text)
    asked = dict.fromkeys(" ".join(random.choice(words, 3, replace=False)) for _ in range(400))
    (home / "log.txt").write_text("\n".join(list(asked)[:320]) + "\n")
    return home


def test_by_hand() -> None:
    """Every stage of an adaptation that trains nothing, written out."""
    cost = cost_of(SOME, RATES, PLACE)
    row = 4 * 384 + 16
    runs = 1 + math.log2(50_000 / 8192)  # of keys
    encode = 40_000 * 200 * 1e-3 + 50_000 * (1e-6 + runs * 1e-7) + 40_000 * row / 1e8
    search_s = 1e-3 + 1e-8 * 50_000
    ask = 400 * (10 * 1e-3 + search_s + 1e-4 + 1e-7 * 50_000)
    ask += 200 * (2 * 10 * 1e-3 + search_s + 1e-3 + 1e-7 * 50_000)
    assert cost.stages == pytest.approx(
        {
            "load": 3.0,
            "encode": encode,
            "words": 5.0,
            "adapt": 400 * 10 * 4 * 1e-6,  # words of the log in four blocks
            "ask": ask,
            "write": 2.0,
        }
    )
    assert cost.hours == pytest.approx(cost.seconds / 3600)
    assert cost.usd == pytest.approx(0.5 * cost.hours)
    assert cost.kept_bytes == 50_000 * (1_000 + 100 + row) + 200_000_000
    assert cost.passing_bytes == 0


def test_ten_million_documents_are_searched_in_a_file() -> None:
    """Six queries go together, where 64 did, and each pass is over all vectors."""
    cost = cost_of(SOME.of_size(10_000_000), RATES, PLACE)
    vectors = 10_000_000 * 384 * 4
    assert cost.passing_bytes == vectors
    assert cost.stages["load"] == pytest.approx(3 + 100)
    assert cost.stages["words"] == pytest.approx(1_000)
    encode = 10_000_000 * (0.2 + 1e-6 + (1 + math.log2(10_000_000 / 8192)) * 1e-7)  # runs of keys
    encode += (10_000_000 * (4 * 384 + 16) + vectors) / 1e8
    assert cost.stages["encode"] == pytest.approx(encode)
    little = replace(PLACE, machine=replace(PLACE.machine, host_bytes=8 << 30))
    from_disk = cost_of(SOME.of_size(10_000_000), RATES, little)
    slower_s = 200 * vectors * (1 / 6 - 1 / 64) * (1 / 1e8 - 1 / 1e10)
    assert from_disk.stages["ask"] - cost.stages["ask"] == pytest.approx(slower_s)
    assert cost.memory_bytes < 4 << 30, "vectors in a file are not held"


def test_a_training_counts_what_it_learns_from() -> None:
    """800 steps; beyond 67 million cells the words of a step's queries are scored in each."""
    small, large = cost_of(TRAINED, RATES, PLACE), cost_of(TRAINED.of_size(10**6), RATES, PLACE)
    queries = 400 + 3_000
    assert small.stages["adapt"] > queries * (10 * 1e-3 + 1e-3) + 800 * 0.01 + 5.0
    assert large.stages["adapt"] > 800 * 64 * 1e-8 * 10**6
    assert cost_of(SOME, RATES, PLACE).stages["adapt"] < 1
    assert small.stages["words"] == 5.0 + 10.0


def test_a_language_model_is_counted_by_its_requests() -> None:
    asked = replace(TRAINED, bill=Bill(1_024, 600_000, 16_000), given=1_424)
    cost = cost_of(asked, RATES, PLACE)
    assert cost.stages["generate"] == 1_024 * ANSWER_S / 8
    assert list(cost.stages)[3] == "generate"


@given(
    documents=st.integers(1, 10**8),
    more=st.integers(1, 10**8),
    judged=st.integers(0, 300),
    trained=st.booleans(),
)
def test_more_documents_never_take_less(
    documents: int, more: int, judged: int, trained: bool
) -> None:
    kind = replace(TRAINED if trained else SOME, judged=judged)
    less = cost_of(kind.of_size(documents), RATES, PLACE)
    most = cost_of(kind.of_size(documents + more), RATES, PLACE)
    for name, seconds in less.stages.items():
        if name != "adapt":  # beyond some size the words of a step are no longer kept in memory
            assert seconds <= most.stages[name] * (1 + 1e-9), name
    assert less.kept_bytes < most.kept_bytes


@given(judged=st.integers(25, 300), documents=st.integers(100, 10**6))
def test_judged_queries_take_time(judged: int, documents: int) -> None:
    without, with_them = (
        cost_of(replace(SOME.of_size(documents), judged=count), RATES, PLACE)
        for count in (0, judged)
    )
    assert with_them.stages["adapt"] > without.stages["adapt"]


def test_what_does_not_fit_is_said_with_a_remedy() -> None:
    costs = (cost_of(SOME, RATES, PLACE), cost_of(SOME.of_size(10**8), RATES, PLACE))
    plan = AdaptPlan("it", "hybrid", SOME, RATES, PLACE, costs, own_prices=False, reranks=False)
    assert verdict(plan).startswith("It fits: ") and plan.fits(costs[0])
    told = adapt_plan_text(plan)
    assert re.search(r"^fits +yes +no$", told, re.MULTILINE)
    assert "Prices are examples until you set prices=FILE." in told
    full = replace(plan, place=replace(PLACE, free_bytes=1 << 20))
    assert "set WHET_CACHE to a larger disk" in verdict(full)
    tight = replace(plan, place=replace(PLACE, machine=replace(PLACE.machine, host_bytes=1 << 20)))
    assert "A machine with more memory would do" in verdict(tight)
    unpriced = replace(plan, place=replace(PLACE, price=None))
    assert "prices=FILE names another" in adapt_plan_text(unpriced)


def test_the_plan_has_the_stages_that_the_adaptation_has(
    documents: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Planned, done, and planned again: by then nothing is left to encode or to count."""
    monkeypatch.chdir(tmp_path)
    words = [f"data={documents / 'texts'}", f"model={tiny_model}"]
    words.append(f"queries={documents / 'log.txt'}")
    assert main(["plan", "adapt", *words, "documents=[1000,10000000]"]) == 0
    told = capsys.readouterr().out
    (new, texts) = re.search(r"(\d+) of (\d+) texts are not encoded yet", told).groups()
    assert new == texts and "a log of 320 queries" in told
    head = re.search(r"^stage +80 +1,000 +10,000,000$", told, re.MULTILINE)
    assert head is not None and "It fits: " in told and "USD" in told
    assert not list(tmp_path.iterdir()), "a plan writes nothing here"
    assert main(["adapt", *words, "output=run"]) == 0
    spent = json.loads((tmp_path / "run" / "environment.json").read_text())["seconds"]
    rows = re.findall(r"^([a-z]+) +\d+ (?:s|min|h|days)\b", told, re.MULTILINE)
    assert rows == ["load", *spent, "all"]
    capsys.readouterr()
    assert main(["plan", "adapt", *words]) == 0
    assert f", 0 of {texts} texts are not encoded yet" in capsys.readouterr().out


def test_training_and_a_language_model_are_planned_and_nothing_is_sent(
    documents: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address answers nobody: a plan that asked it would fail."""
    words = [f"data={documents / 'texts'}", f"model={tiny_model}", "search=vectors"]
    words += ["generate.url=http://localhost:1/v1", "generate.model=m", "generate.price_in=1"]
    assert main(["plan", "adapt", *words, "generate.price_out=1"]) == 0
    told = capsys.readouterr()
    assert re.search(r"^generate +20 s", told.out, re.MULTILINE)  # 80 documents, 8 at a time
    assert "for a plan sends nothing" in told.out
    assert "will be asked at most 80 times" in told.err and "at the prices given" in told.err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("documents=[0]", "documents=[0] holds no number of documents"),
        ("prices=nowhere.yaml", "prices=nowhere.yaml: no price list"),
        ("generate.model=m", "say nothing without an address"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, said: str
) -> None:
    data = f"data={documents / 'texts'}"
    assert main(["plan", "adapt", data, f"model={tmp_path / 'none'}", word]) == 2
    assert said in capsys.readouterr().err


def test_python_has_no_option_of_the_plan(documents: Path) -> None:
    with pytest.raises(whet.errors.ConfigError, match="no option 'documents'"):
        whet.adapt(str(documents / "texts"), documents=[10])
