"""Seconds, prices and counts."""

from dataclasses import replace

import numpy as np
import pytest

from whet.config import FitConfig
from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.data.splits import splits_of
from whet.encoding.table import encode_table
from whet.errors import ConfigError
from whet.model.encoder import Encoder
from whet.plan.estimate import Processes, StepCost, estimate, step_cost
from whet.plan.footprint import Setting, Shape, every_strategy, footprint
from whet.plan.machine import Machine
from whet.plan.prices import price_of
from whet.plan.probe import EncodeRates, SearchRates, StepRates
from whet.plan.table import rough_duration
from whet.plan.workload import Split, Step, TextCount, Workload, workload_of
from whet.training.batches.order import Order, total_steps

NONE = np.empty((0, 1), np.float32)
STEP = Step(pairs=64, texts=200.0, documents=128.0, tokens=4000.0, most_tokens=4000.0)
WORK = Workload(
    documents=1000, pairs=640, steps=20, refreshes=2, mines=True,
    corpus=TextCount(1000, 0, 10.0),
    judged=TextCount(100, 50, 5.0),
    learned=TextCount(200, 200, 5.0),
    step=STEP,
)  # fmt: skip
ENCODE = EncodeRates(document_s=0.001, query_s=0.002, document_SD=NONE, query_SD=NONE, texts=0)
SEARCH = SearchRates(0.01, 1e-5, 0.02, 2e-5)


def seconds(processes=1, **changes):
    config = FitConfig()
    step = StepCost(alone_s=3.0, talk_s=0.5, save_s=2.0)
    return estimate(
        replace(WORK, **changes), ENCODE, SEARCH, config, step=step,
        processes=Processes(processes, 1e9),
    )  # fmt: skip


def test_stages_add_up_by_hand():
    found = seconds()
    judged_s = 100 * (0.02 + 2e-5 * 1000)
    mined_s = 200 * (0.01 + 1e-5 * 1000)
    assert found.stages["judge the base model"] == pytest.approx(50 * 5 * 0.002 + judged_s)
    assert found.stages["mine"] == pytest.approx(200 * 5 * 0.002 + mined_s)
    refresh_s = 1000 * 10 * 0.001 + 200 * 5 * 0.002 + mined_s
    assert found.refresh_s == pytest.approx(refresh_s)
    assert found.stages["train"] == pytest.approx(20 * 3.5 + 2 * refresh_s + 1 * 2.0)
    assert found.stages["judge the tuned model"] == pytest.approx(10 + 1 + judged_s)
    assert found.seconds == pytest.approx(sum(found.stages.values()))


def test_checkpoints_are_counted():
    assert seconds(steps=1000).stages["train"] > 1000 * 3.5 + 11 * 2.0


def test_more_processes_divide_encoding_and_searching():
    alone, four = seconds(), seconds(4)
    for stage in ("judge the base model", "judge the tuned model"):
        assert four.stages[stage] < alone.stages[stage]
    assert seconds(mines=False).stages["mine"] == 0


def a_setting(processes):
    shape = Shape(weights=1000, trained=1000, unit=100, dimension=100, unit_bytes=10)
    return Setting(
        shape, WORK, processes, gpu=False, half=False, base=0.0, cached=False, chunk_tokens=500,
        chunks=8,
    )  # fmt: skip


def test_a_whole_step_costs_what_was_measured_and_a_part_is_scaled():
    machine = Machine("cpu", 1, 1, flops=1e12, copy_bytes_s=1e12, disk_bytes_s=1e9)
    held = footprint(every_strategy(1)["single"], a_setting(1))

    def cost(measured, setting):
        return step_cost(measured, setting, held, machine=machine, link_bytes_s=1e9).alone_s

    whole, half = StepRates(4.0, 64, 4000, 4000, 0), StepRates(2.0, 32, 2000, 2000, 0)
    assert cost(whole, a_setting(1)) == pytest.approx(4.0)
    assert cost(half, a_setting(1)) == pytest.approx(4.0, rel=1e-3)
    assert cost(whole, a_setting(4)) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("count", "told"),
    [(45, "45 s"), (485, "8 min 5 s"), (12_000, "3 h 20 min"), (187_200, "2 days 4 h")],
)
def test_durations(count, told):
    assert rough_duration(count) == told


def test_the_longest_name_in_the_device_is_its_price(tmp_path):
    own = tmp_path / "prices.yaml"
    own.write_text(
        "devices:\n  A10: {usd_an_hour: 1, link_gb_a_second: 2}\n"
        "  A100: {usd_an_hour: 3, link_gb_a_second: 4}\n"
    )
    found = price_of("NVIDIA A100-SXM4-80GB", str(own))
    assert (found.name, found.usd_an_hour, found.link_bytes_s) == ("A100", 3.0, 4e9)
    assert price_of("NVIDIA A10", str(own)).usd_an_hour == 1
    assert price_of("cpu", str(own)) is None
    assert price_of("cpu") is not None and price_of("NVIDIA H200") is not None


@pytest.mark.parametrize("text", ["devices: 3", "[", "devices: {cpu: {usd_an_hour: much}}", None])
def test_a_broken_price_list_is_named(tmp_path, text):
    own = tmp_path / "prices.yaml"
    if text is not None:
        own.write_text(text)
    with pytest.raises(ConfigError, match=r"launch\.prices=.*prices\.yaml"):
        price_of("cpu", str(own))


@pytest.fixture(scope="module")
def job(tiny_data, tiny_model):
    config = FitConfig()
    config.data.path, config.model.name = str(tiny_data), str(tiny_model)
    config.trainer.batch_size = 16
    data = load_dataset(str(tiny_data))
    train, judged = splits_of(data, config)
    split = Split(train, judged, positives_of(train, data.queries, data.corpus))
    return config, data, split, Encoder.load(config.model)


def test_counts_are_those_of_the_job(job, tmp_path):
    config, data, split, encoder = job
    work = workload_of(data, split, encoder, config, store=tmp_path)
    assert (work.documents, work.pairs) == (len(data.corpus), len(split.train.relevant()))
    assert work.steps == total_steps(Order(work.pairs, 16, 0), config.trainer)
    assert work.step.pairs == 16 and work.step.documents <= 16 * (1 + 1)
    lengths = [len(ids) for ids in encoder.tokenize([text for text in texts_of(data)], "document")]
    assert work.corpus.tokens == pytest.approx(np.mean(lengths))


def texts_of(data):
    return data.corpus.texts(np.arange(len(data.corpus)))


def test_texts_in_the_store_are_not_counted_again(job, tmp_path):
    config, data, split, encoder = job
    before = workload_of(data, split, encoder, config, store=tmp_path).corpus
    assert before.missing > 0
    encode_table(encoder, data.corpus, kind="document", store=tmp_path, config=config.encode)
    after = workload_of(data, split, encoder, config, store=tmp_path).corpus
    assert (after.missing, after.distinct) == (0, before.distinct)


@pytest.mark.parametrize(("policy", "every"), [("off", 1), ("steps", 3), ("epoch", 1)])
def test_refreshes_are_counted_as_they_happen(job, tmp_path, policy, every):
    config, data, split, encoder = job
    options = replace(config, refresh=replace(config.refresh, policy=policy, every_n_steps=every))
    work = workload_of(data, split, encoder, options, store=tmp_path)
    each = -(-work.pairs // 16) if policy == "epoch" else every
    mined = [step for step in range(1, work.steps) if step % each == 0]
    assert work.refreshes == (0 if policy == "off" else len(mined))


def test_a_pool_and_candidates_are_all_that_is_encoded():
    """With 100 of 1,000 documents judged on and 50 mined among, of 10 tokens each."""
    corpus = TextCount(1000, 1000, 10.0)
    found = seconds(corpus=corpus, pool=100, among=50)
    judged_s = 100 * (0.02 + 2e-5 * 100)
    asked_s = 5 * 0.002
    expected = {
        "judge the base model": 100 * 10 * 0.001 + 50 * asked_s + judged_s,
        "mine": 50 * 10 * 0.001 + 200 * asked_s + 200 * (0.01 + 1e-5 * 50),
        "judge the tuned model": 100 * 10 * 0.001 + 100 * asked_s + judged_s,
    }
    assert {name: found.stages[name] for name in expected} == pytest.approx(expected)
    every = seconds(corpus=corpus, pool=100)
    assert every.stages["mine"] - found.stages["mine"] == pytest.approx(
        (900 - 50) * 10 * 0.001 + 200 * 1e-5 * 950
    )
