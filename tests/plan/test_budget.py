"""A budget pays for steps, a pool and a scope: within it, once, and said."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whet
from whet.config import FitConfig
from whet.config.ranges import budget_seconds
from whet.data.load import read_dataset
from whet.errors import CheckpointError, ConfigError
from whet.model.encoder import Encoder
from whet.plan import budget
from whet.plan.budget import RESERVE, BudgetChoice, choose, read_choice, within_budget
from whet.plan.estimate import Estimate, StepCost
from whet.plan.footprint import Setting, Shape
from whet.plan.machine import Machine
from whet.plan.make import Plan
from whet.plan.probe import EncodeRates, Rates, SearchRates, StepRates
from whet.plan.workload import Split, Step, TextCount, Workload
from whet.run.job import job_with_data
from whet.storage.commit import write_json
from whet.types import Positives, Qrels

DOCUMENTS, QUERIES, JUDGED = 150_000, 3_000, 100
NONE = np.empty((0, 1), np.float32)
SEARCH = SearchRates(1e-4, 1e-8, 1e-4, 1e-8, words_document_s=2e-4, words_pair_s=1e-9)


def split() -> Split:
    """A query, a document relevant to it."""
    rows = np.arange(QUERIES)
    train = Qrels(rows, rows, np.ones(QUERIES))
    judged = Qrels(rows[:JUDGED], rows[:JUDGED], np.ones(JUDGED))
    return Split(train, judged, Positives(np.arange(QUERIES + 1), rows, np.arange(DOCUMENTS)))


def plan(token_s: float, step_s: float) -> Plan:
    """Of a corpus of 100 tokens a document, measured so."""
    step = Step(64, 128.0, 128.0, 8000.0, 8000.0)
    corpus, asked = TextCount(DOCUMENTS, DOCUMENTS, 100.0), TextCount(JUDGED, JUDGED, 10.0)
    work = Workload(
        DOCUMENTS, QUERIES, 100, 0, True, corpus, asked, TextCount(QUERIES, QUERIES, 10.0), step
    )
    rates = Rates(
        EncodeRates(token_s, token_s, NONE, NONE, 0), SEARCH, StepRates(step_s, 64, 8000, 8000, 0),
        0, 1.0,
    )  # fmt: skip
    machine = Machine("cpu", 1, 1, flops=1e11, copy_bytes_s=1e10, disk_bytes_s=1e9)
    shape = Shape(1, 1, 1, 1, 1)
    setting = Setting(shape, work, 1, False, False, 0.0, False, 1, 1)
    cost = StepCost(step_s, 0.0, 0.1)
    return Plan(
        "it", work, rates, machine, setting, Estimate({}, cost, 0.0), {}, "single", None, 0.0, ()
    )  # fmt: skip


class Corpus:
    """As long as the other one."""

    corpus = range(DOCUMENTS)


def chosen(
    monkeypatch: pytest.MonkeyPatch, time: str, *, token_s: float, step_s: float, **changes: Any
) -> BudgetChoice:
    """What a budget pays for on a machine of these rates."""
    monkeypatch.setattr(budget, "make_plan", lambda *_, **__: plan(token_s, step_s))
    monkeypatch.setattr(budget, "with_words", lambda rates, *_: rates)
    config: Any = replace(FitConfig(), budget=time)
    for group, options in changes.items():
        config = replace(config, **{group: replace(getattr(config, group), **options)})
    encoder: Any = None
    return choose(Corpus(), split(), encoder, config, spent_s=20.0)


@given(hours=st.integers(0, 99), minutes=st.integers(0, 999), seconds=st.integers(1, 999))
def test_times_are_read_as_written(hours: int, minutes: int, seconds: int) -> None:
    told = f"{hours}h{minutes}m{seconds}s"
    assert budget_seconds(told) == 3600 * hours + 60 * minutes + seconds


@pytest.mark.parametrize("time", ["", "45", "m", "0m", "-3m", "1m1h", "nan", "45 m", "1e9h"])
def test_no_time_is_refused(time: str) -> None:
    with pytest.raises(ConfigError, match="Write one such as 90s, 45m or 1h30m, or auto"):
        budget_seconds(time)


@pytest.mark.parametrize("minutes", [12, 20, 45, 90, 300, 3000])
@pytest.mark.parametrize("token_s", [1e-5, 2e-4])
def test_what_is_chosen_fits_and_uses_the_time(
    monkeypatch: pytest.MonkeyPatch, minutes: int, token_s: float
) -> None:
    found = chosen(monkeypatch, f"{minutes}m", token_s=token_s, step_s=4.0)
    limit_s = (1 - RESERVE) * 60 * minutes
    assert found.seconds <= limit_s
    every = 3 * -(-QUERIES // 64)
    assert found.max_steps == every or found.seconds > 0.9 * limit_s
    if minutes == 3000:  # time for all
        assert (found.pool, found.scope, found.max_steps) == ("all", "all", every)


def test_less_time_is_saved_on_judging_and_mining_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """150,000 documents at 5,000 tokens a second take 50 minutes, and twice that in a fit."""
    found = chosen(monkeypatch, "45m", token_s=2e-4, step_s=8.0)
    assert found.scope == "candidates" and int(found.pool) <= 20_000 and found.max_steps >= 100
    assert "negatives from" in str(found) and f"a pool of {found.pool}" in str(found)
    fast = chosen(monkeypatch, "45m", token_s=1e-6, step_s=0.1)
    assert (fast.pool, fast.scope) == ("all", "all")


def test_what_was_asked_for_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"evaluate": {"pool": "7000"}, "mining": {"scope": "candidates", "candidates": 20}}
    found = chosen(monkeypatch, "2h", token_s=2e-4, step_s=1.0, trainer={"max_steps": 33}, **asked)
    assert (found.pool, found.scope, found.candidates) == ("7000", "candidates", 20)
    assert found.max_steps == 33
    raw = chosen(monkeypatch, "9h", token_s=2e-4, step_s=1.0, mining={"rank_window": "raw"})
    assert raw.scope == "all"


def test_too_little_is_refused_with_the_least_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"token_s": 2e-4, "step_s": 4.0}
    with pytest.raises(ConfigError, match=r"budget=60s is too little: .* budget=(\d+)m") as told:
        chosen(monkeypatch, "60s", **rates)
    least = str(told.value).split("budget=")[2].split(",")[0]
    assert chosen(monkeypatch, least, **rates).max_steps >= 10


def test_a_kept_choice_is_read_as_written_or_refused(tmp_path: Path) -> None:
    choice = BudgetChoice("45m", 300, "20000", "candidates", 64, 2400.0)
    write_json(tmp_path / "budget.json", asdict(choice))
    assert read_choice(tmp_path / "budget.json") == choice
    write_json(tmp_path / "budget.json", {**asdict(choice), "max_steps": "many"})
    with pytest.raises(CheckpointError, match="not as it was written"):
        read_choice(tmp_path / "budget.json")


@pytest.mark.parametrize(("seconds", "words"), [(11.0, "auto"), (13.0, "off")])
def test_words_are_tried_where_half_of_the_reserve_has_the_time(
    tiny_data: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
    words: str,
) -> None:
    """A twentieth of four minutes is twelve seconds."""
    monkeypatch.setattr(budget, "seconds_of_words", lambda *_: seconds)
    write_json(tmp_path / "budget.json", asdict(BudgetChoice("4m", 6, "all", "all", 64, 100.0)))
    config = FitConfig(budget="4m")
    config.data.path = str(tiny_data)
    job = job_with_data(config, tmp_path, read_dataset(config.data))
    assert job.dev is not None
    paid = within_budget(job, Encoder.load(str(tiny_model)), 0.0)
    assert (paid.config.select.words, paid.config.trainer.max_steps) == (words, 6)
    assert ("no time to try words" in capsys.readouterr().err) == (words == "off")


@pytest.mark.slow  # measures for a quarter of a minute
def test_a_fit_keeps_what_its_budget_paid_for(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its config.yaml has what was chosen, so a repeat of it asks no clock."""
    run = whet.fit(
        str(tiny_data),
        model=str(tiny_model),
        output=str(tmp_path / "run"),
        budget="4m",
        select={"policy": "last"},
    )
    assert "budget=4m: 6 steps, negatives from all documents" in capsys.readouterr().err
    written = (run.folder / "config.yaml").read_text()
    assert "budget: null" in written and "max_steps: 6" in written
    facts = json.loads((run.folder / "environment.json").read_text())
    assert facts["budget"]["max_steps"] == 6 and facts["config"]["trainer.max_steps"] == 6
    assert "Budget" in (run.folder / "report.html").read_text()
