"""A larger job never takes less, more processes and sharding never more; and by how much each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.config import FitConfig
from whet.plan.estimate import (
    Estimate,
    Processes,
    StepCost,
    encoding_s,
    estimate,
    step_cost,
)
from whet.plan.footprint import Footprint, Setting, Shape, calibrated, every_strategy, footprint
from whet.plan.machine import Machine
from whet.plan.probe import EncodeRates, SearchRates, StepRates, line_through, vectors_like
from whet.plan.workload import Step, TextCount, Workload, sampled

few = settings(deadline=None, max_examples=30)
COUNT = st.integers(1, 10**6)
FEW = st.integers(2, 64)
NONE = np.empty((0, 1), np.float32)
ENCODE = EncodeRates(document_s=1e-4, query_s=2e-4, document_SD=NONE, query_SD=NONE, texts=0)
SEARCH = SearchRates(1e-3, 1e-6, 2e-3, 2e-6)
MACHINE = Machine("cpu", 1, 1, flops=1e11, copy_bytes_s=1e10, disk_bytes_s=1e9)


@st.composite
def settings_of_jobs(draw: st.DrawFn, processes: st.SearchStrategy[int] = FEW) -> Setting:
    """Any job: its model, its step, its device and how many processes do it."""
    weights = draw(st.integers(100, 10**9))
    dimension = draw(st.integers(1, 4096))
    shape = Shape(weights, draw(st.integers(1, weights)), weights // 10, dimension, 1000)
    tokens = draw(COUNT)
    step = Step(draw(COUNT), draw(COUNT), draw(COUNT), tokens, tokens + draw(COUNT))
    texts = TextCount(draw(COUNT), 0, draw(st.floats(1, 500)))
    work = Workload(draw(COUNT), step.pairs, draw(COUNT), 0, True, texts, texts, texts, step)
    return Setting(
        shape, work, draw(processes), gpu=draw(st.booleans()), half=draw(st.booleans()),
        base=draw(st.floats(0, 1e9)), cached=draw(st.booleans()), chunk_tokens=draw(COUNT),
        chunks=draw(st.integers(1, 50)),
    )  # fmt: skip


def all_of(setting: Setting) -> dict[str, Footprint]:
    strategies = every_strategy(setting.processes)
    return {name: footprint(strategy, setting) for name, strategy in strategies.items()}


def larger(setting: Setting, what: str, by: int) -> Setting:
    """The same job with more of one thing."""
    shape, work, step = setting.shape, setting.work, setting.work.step
    if what in ("weights", "dimension"):
        both = {"trained": shape.trained + by} if what == "weights" else {}
        shape = replace(shape, **{what: getattr(shape, what) + by}, **both)
    elif what == "documents of the corpus":
        work = replace(work, documents=work.documents + by)
    elif what in ("base", "chunk_tokens"):
        return replace(setting, **{what: getattr(setting, what) + by})
    else:
        work = replace(work, step=replace(step, **{what: getattr(step, what) + by}))
    return replace(setting, shape=shape, work=work)


GROWS = "weights dimension base chunk_tokens pairs texts documents most_tokens".split()


@pytest.mark.parametrize("what", [*GROWS, "documents of the corpus"])
@few
@given(settings_of_jobs(), COUNT)
def test_a_larger_job_holds_and_sends_no_less(what: str, setting: Setting, by: int) -> None:
    small, large = all_of(setting), all_of(larger(setting, what, by))
    for name, held in small.items():
        assert held.device_bytes <= large[name].device_bytes * (1 + 1e-12)
        assert held.host_bytes <= large[name].host_bytes * (1 + 1e-12)
        assert held.sent_bytes <= large[name].sent_bytes and held.disk <= large[name].disk
        assert min(*held.device.values(), *held.host.values(), *held.sent.values()) >= 0


@few
@given(settings_of_jobs(), st.integers(1, 64))
def test_more_processes_hold_no_more_each(setting: Setting, by: int) -> None:
    """And of a strategy that divides all it has, only a part."""
    few, many = all_of(setting), all_of(replace(setting, processes=setting.processes + by))
    for name, held in few.items():
        assert many[name].device_bytes <= held.device_bytes * (1 + 1e-12)
        assert many[name].host_bytes <= held.host_bytes * (1 + 1e-12)
    share = setting.processes / (setting.processes + by)
    for part in ("weights", "gradients", "optimizer"):
        for name in ("fsdp", "deepspeed_stage_3"):
            held = few[name].device[part]
            assert many[name].device[part] == pytest.approx(held * share)
            assert many["ddp"].device[part] == few["ddp"].device[part]


@few
@given(settings_of_jobs())
def test_each_stage_of_zero_divides_one_thing_more(setting: Setting) -> None:
    held = all_of(replace(setting, gpu=True))
    kept = {
        name: [held[f"deepspeed_{name}"].device[part] for part in ("optimizer", "gradients")]
        + [held[f"deepspeed_{name}"].device["weights"]]
        for name in ("stage_1", "stage_2", "stage_3")
    }
    whole = [kept["stage_1"][0], kept["stage_1"][1], kept["stage_1"][2]]
    w = setting.processes
    assert kept["stage_2"] == pytest.approx([whole[0], whole[1] / w, whole[2]])
    assert kept["stage_3"] == pytest.approx([whole[0], whole[1] / w, whole[2] / w])
    for stage in ("2", "3"):
        plain, moved = held[f"deepspeed_stage_{stage}"], held[f"deepspeed_stage_{stage}_offload"]
        gone = plain.device_bytes - moved.device_bytes
        assert gone > 0 and moved.host_bytes - plain.host_bytes == pytest.approx(gone, abs=1)
    stage_3, nvme = held["deepspeed_stage_3"], held["deepspeed_stage_3_nvme"]
    gone = stage_3.device_bytes - nvme.device_bytes
    assert nvme.disk == pytest.approx(gone, abs=1)


@few
@given(settings_of_jobs())
def test_calibration_adds_up_to_what_grew(setting: Setting) -> None:
    """The tokens of a probe that are alive, at the bytes found, are what its steps added."""
    tokens, per_token = float(setting.work.step.tokens), 4096.0
    alive = min(tokens, setting.chunk_tokens) if setting.cached else tokens
    state = 12 * setting.shape.trained
    found = calibrated(setting, state + per_token * alive, tokens)
    assert found.token_bytes == pytest.approx(per_token, rel=1e-6)
    assert calibrated(setting, state / 2, tokens).token_bytes == 0
    assert replace(found, token_bytes=0.0) == replace(setting, token_bytes=0.0)


WORK = Workload(
    documents=1000, pairs=640, steps=200, refreshes=2, mines=True,
    corpus=TextCount(1000, 500, 10.0), judged=TextCount(100, 50, 5.0),
    learned=TextCount(200, 150, 5.0), step=Step(64, 200.0, 128.0, 4000.0, 4400.0),
)  # fmt: skip


def seconds(
    work: Workload = WORK, processes: int = 1, step: StepCost | None = None, **trainer: Any
) -> Estimate:
    config = FitConfig()
    config.trainer = replace(config.trainer, **trainer)
    step = step or StepCost(alone_s=3.0, talk_s=0.5, save_s=2.0)
    return estimate(
        work, ENCODE, SEARCH, config, step=step, processes=Processes(processes, 1e9)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "part"),
    [("documents", ""), ("steps", ""), ("refreshes", ""), ("corpus", "distinct"),
     ("corpus", "missing"), ("corpus", "tokens"), ("judged", "distinct"), ("judged", "missing"),
     ("learned", "distinct"), ("learned", "missing")],
)  # fmt: skip
@few
@given(by=st.integers(1, 10**5))
def test_more_to_do_takes_longer_and_no_stage_less(field: str, part: str, by: int) -> None:
    count = getattr(WORK, field)
    more = replace(count, **{part: getattr(count, part) + by}) if part else count + by
    before, after = seconds(), seconds(replace(WORK, **{field: more}))
    assert after.seconds > before.seconds
    assert all(after.stages[name] >= spent for name, spent in before.stages.items())


@few
@given(st.integers(1, 500), st.floats(0.01, 100), st.integers(0, 40), st.integers(0, 2000))
def test_checkpoints_are_those_that_training_writes(
    steps: int, step_s: float, every: int, every_s: int
) -> None:
    """Those of the steps or of the clock, whichever are more, at most one a step; the last step's
    is the one at the end.
    """

    def saves(every_s: int) -> float:
        work = replace(WORK, steps=steps, refreshes=0)
        options = {"checkpoint_every_steps": every, "checkpoint_every_s": every_s}
        plain, saving = (
            seconds(work, step=StepCost(step_s, 0.0, save_s), **options).stages["train"]
            for save_s in (0.0, 1e6)
        )
        return round((saving - plain) / 1e6, 3)

    due = 1 + sum(1 for step in range(1, steps) if every and step % every == 0)
    assert saves(10**9) == due
    assert saves(0) == steps
    timed = 1 + min(steps - 1, steps * step_s // every_s) if every_s else steps
    assert saves(every_s) == max(due, timed)


@few
@given(st.integers(1, 1000), st.integers(0, 1000), st.floats(0, 50))
def test_what_the_store_has_is_not_encoded_but_by_new_weights(
    distinct: int, missing: int, tokens: float
) -> None:
    missing = min(missing, distinct)
    texts, none = TextCount(distinct, missing, tokens), TextCount(0, 0, 0.0)
    wanted = {True: missing, False: distinct}
    for new, count in wanted.items():
        assert encoding_s(ENCODE, texts, none, new=new) == pytest.approx(count * tokens * 1e-4)
        assert encoding_s(ENCODE, none, texts, new=new) == pytest.approx(count * tokens * 2e-4)


def test_merging_what_processes_found_is_counted_in_bytes() -> None:
    """Twelve bytes (score and row) of each of k, for every query, from every other process."""
    assert Processes(1, 1e9).merged_s(100, 10) == 0
    assert Processes(5, 1e6).merged_s(100, 10) == 4 * 100 * 10 * 12 / 1e6
    alone, five = seconds(), seconds(processes=5)
    k = FitConfig().mining.num_negatives
    mined = 200 * 1e-3 + 200 * 1e-6 * 1000 / 5 + Processes(5, 1e9).merged_s(200, k)
    assert five.stages["mine"] == pytest.approx(150 * 5 * 2e-4 / 5 + mined)
    assert five.stages["train"] < alone.stages["train"]


@few
@given(settings_of_jobs(st.just(1)), st.floats(0.1, 100))
def test_a_step_that_was_measured_whole_takes_what_it_took(setting: Setting, spent: float) -> None:
    """Unless the loss and the optimizer alone would take longer; and sending is on top."""
    held = replace(all_of(setting)["single"], sent={"x": 5e8})
    step = setting.work.step
    measured = StepRates(spent, step.pairs, int(step.tokens), int(step.tokens), 0)
    cost = step_cost(measured, setting, held, machine=MACHINE, link_bytes_s=1e9)
    loss_s = 6 * step.pairs * step.documents * setting.shape.dimension / MACHINE.flops
    fixed_s = loss_s + 28 * setting.shape.trained / MACHINE.copy_bytes_s
    assert cost.alone_s == pytest.approx(max(spent, fixed_s))
    assert cost.talk_s == 0.5 and cost.seconds == cost.alone_s + 0.5
    assert cost.save_s == 12 * setting.shape.trained / MACHINE.disk_bytes_s


@few
@given(st.floats(0, 10), st.floats(0, 1), st.integers(1, 1000), st.integers(1, 1000))
def test_the_line_through_two_searches_is_found(
    start: float, slope: float, size: int, more: int
) -> None:
    sizes = [size, size + more]
    found = line_through(sizes, [start + slope * each for each in sizes])
    assert found == pytest.approx((start, slope), abs=1e-9 * (1 + slope * sizes[1] + start))
    assert line_through([size, size], [5.0, 3.0]) == (0.0, 3.0 / size)
    falling = line_through(sizes, [2.0, 1.0])  # noise
    assert falling == (1.0, 0.0)


@few
@given(st.integers(1, 20), st.integers(1, 50), st.integers(0, 2**31))
def test_vectors_to_search_with_are_like_those_given(rows: int, count: int, seed: int) -> None:
    """Mixtures of them, each as long as one of them."""
    given_SD = np.random.default_rng(seed).normal(size=(rows, 40)).astype(np.float32)
    found_ND = vectors_like(given_SD, count)
    assert found_ND.shape == (count, 40) and found_ND.dtype == np.float32
    lengths = np.linalg.norm(given_SD, axis=1)
    off = np.abs(np.linalg.norm(found_ND, axis=1)[:, None] - lengths).min(1)
    assert off.max() < 1e-4 * lengths.max()
    rest = found_ND - np.linalg.lstsq(given_SD.T, found_ND.T, rcond=None)[0].T @ given_SD
    assert np.abs(rest).max() < 1e-3 * np.abs(found_ND).max()
    assert np.array_equal(vectors_like(given_SD, count), found_ND)


@few
@given(st.integers(0, 300), st.integers(1, 100), st.integers(0, 99))
def test_a_sample_holds_each_row_once_and_is_the_same_again(
    rows: int, count: int, seed: int
) -> None:
    given_N = np.arange(rows) * 3
    found = sampled(given_N, count, seed)
    assert len(found) == min(rows, count) and set(found) <= set(given_N)
    assert len(set(found)) == len(found) and np.array_equal(found, sampled(given_N, count, seed))
