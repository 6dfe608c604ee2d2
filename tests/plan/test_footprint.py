"""Bytes a process holds and sends, against tables a hand can check."""

from dataclasses import replace

import pytest

from whet.config import FitConfig, StrategyConfig
from whet.model.encoder import Encoder
from whet.plan.footprint import (
    Setting,
    Shape,
    calibrated,
    every_strategy,
    footprint,
    setting_of,
    strategy_label,
)
from whet.plan.workload import Step, TextCount, Workload

M = 1_000_000
TEXTS = TextCount(0, 0, 0.0)
STEP = Step(pairs=64, texts=200.0, documents=128.0, tokens=4000.0, most_tokens=4400.0)
WORK = Workload(1000, 640, 10, 0, True, TEXTS, TEXTS, TEXTS, STEP)
SHAPE = Shape(weights=10 * M, trained=10 * M, unit=2 * M, dimension=100, unit_bytes=1000)


def setting(**changes) -> Setting:
    usual = Setting(
        SHAPE, WORK, processes=4, gpu=True, half=False, base=0.0, cached=False, chunk_tokens=500,
        chunks=2,
    )  # fmt: skip
    return replace(usual, **changes)


def of(name, processes=4, **changes):
    strategies = every_strategy(processes)
    return footprint(strategies[name], setting(processes=processes, **changes))


@pytest.mark.parametrize(
    ("name", "weights", "gradients", "optimizer"),
    [
        ("ddp", 40, 40, 80),
        ("fsdp", 10, 10, 20),
        ("deepspeed_stage_1", 40, 40, 30),
        ("deepspeed_stage_2", 40, 10, 30),
        ("deepspeed_stage_3", 10, 10, 30),
        ("deepspeed_stage_2_offload", 40, 0, 0),
        ("deepspeed_stage_3_offload", 0, 0, 0),
        ("deepspeed_stage_3_nvme", 0, 0, 0),
    ],
)
def test_ten_million_float32_weights_on_four_gpus(name, weights, gradients, optimizer):
    held = of(name).device
    found = (held["weights"], held["gradients"], held["optimizer"])
    assert found == (weights * M, gradients * M, optimizer * M)


def test_what_is_offloaded_is_in_the_computers_memory_or_on_its_disk():
    assert of("deepspeed_stage_2_offload").host["optimizer"] == 30 * M
    assert of("deepspeed_stage_3_offload").host["weights"] == 10 * M
    assert of("deepspeed_stage_3_nvme").disk == 50 * M
    assert of("deepspeed_stage_3").disk == 0


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [("ddp", 60), ("deepspeed_stage_2", 60), ("fsdp", 30 + 2 * 30), ("deepspeed_stage_3", 150)],
)
def test_bytes_sent_a_step(name, megabytes):
    """Ring: 3/4 of what is gathered, twice that of what is summed; 2 chunks gather twice each, once
    where fsdp keeps the weights of a small model for the backward.
    """
    sent = of(name).sent
    assert sent["vectors"] == 0.75 * 200 * 100 * 4
    assert sum(sent.values()) - sent["vectors"] == megabytes * M


def test_fsdp_gathers_a_large_model_again_and_in_16_bits_where_training_is():
    large = replace(SHAPE, weights=600 * M)
    sent = [of("fsdp", shape=large, half=half).sent["weights"] for half in (False, True)]
    assert sent == [4 * 0.75 * 4 * 600 * M, 4 * 0.75 * 2 * 600 * M]
    assert of("fsdp", shape=large).device["gathered"] == 2 * 4 * 2 * M
    assert of("fsdp", half=True).device["gathered"] == 2 * 10 * M


def test_one_process_sends_nothing():
    assert all(of(name, 1).sent_bytes == 0 for name in every_strategy(1))


def test_activations_are_those_of_the_largest_batch_or_of_a_chunk():
    assert of("ddp").device["activations"] == 1000 * 4400 / 4
    half = of("ddp", half=True).device["activations"]
    assert half == pytest.approx(1000 * 4400 / 4 * 42 / 68)
    assert of("ddp", cached=True).device["activations"] == 1000 * 500


def test_a_cpu_has_one_memory_for_all_of_it():
    held = of("deepspeed_stage_2_offload", gpu=False, base=5.0)
    assert held.device_bytes == held.host_bytes
    assert held.host["weights"] == 40 * M and held.host["optimizer"] == 30 * M
    assert held.host["base"] == 5.0


def test_calibration_gives_back_what_was_measured():
    alone = setting(processes=1, gpu=False)
    grown = 12 * 10 * M + 7000.0 * 4400
    found = calibrated(alone, grown, 4400)
    assert found.token_bytes == 7000
    assert footprint(StrategyConfig(name="single"), found).device["step or search"] >= 7000 * 4400


def test_labels_are_the_names_of_the_yaml_files():
    from whet_launch.options.catalogue import choices_of

    labels = {*every_strategy(1), *every_strategy(2)}
    assert labels == set(choices_of("strategy")) - {"auto"}
    assert strategy_label(StrategyConfig(), 1) == "single"
    assert strategy_label(StrategyConfig(), 2) == "ddp"


def test_an_encoder_is_counted(tiny_model):
    encoder = Encoder.load(str(tiny_model))
    shape = Shape.of(encoder)
    assert shape.weights == sum(p.numel() for p in encoder.parameters())
    assert shape.unit_bytes == 2 * 32 * 68
    layer = sum(p.numel() for p in encoder.backbone.encoder.layer[0].parameters())
    assert shape.unit == max(layer, shape.weights - 2 * layer)


def test_gradcache_is_planned_when_a_batch_is_over_the_limit(tiny_model):
    encoder, config = Encoder.load(str(tiny_model)), FitConfig()
    config.loss.cache_tokens = 3999
    assert setting_of(encoder, config, WORK, base=0.0, gpu=False).cached
    config.launch.num_workers = 2
    assert not setting_of(encoder, config, WORK, base=0.0, gpu=False).cached
