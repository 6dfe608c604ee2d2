"""Several processes train as one does with the whole batch, under every strategy."""

import numpy as np
import pytest
from processes import in_processes

STEPS = 3
STRATEGIES = {
    "ddp": {"name": "ddp"},
    "fsdp": {"name": "fsdp"},
    "deepspeed 1": {"name": "deepspeed", "stage": 1},
    "deepspeed 2": {"name": "deepspeed", "stage": 2},
    "deepspeed 3": {"name": "deepspeed", "stage": 3},
}
LOSSES = {
    "whole": {"cache": "never"},
    "cached": {"cache": "always", "chunk_tokens": 24},
    "cached, symmetric": {"cache": "always", "chunk_tokens": 24, "symmetric": True},
    "taught, guided": {"name": "distill_kl", "guide": "start", "cache": "always"},
    "query side, helped": {"name": "margin_mse", "guide": "start", "gains": "linear"}
    | {"train": "query", "cache": "always", "chunk_tokens": 24},
}


def options_of(kind, model):
    """Those of a kind of loss; the teacher is the tiny model itself."""
    taught = {"teacher": str(model)} if LOSSES[kind].get("name") else {}
    return {**LOSSES[kind], **taught}


@pytest.fixture(scope="module")
def alone(tiny_data, tiny_model):
    """One process with the whole batch, by kind of loss."""
    found = {}

    def of(kind):
        if kind not in found:
            options = {"name": "single"}, options_of(kind, tiny_model)
            arguments = str(tiny_data), str(tiny_model), *options, STEPS
            found[kind] = in_processes(1, "steps", "trained", *arguments)[0]
        return found[kind]

    return of


def check(alone, tiny_data, tiny_model, strategy, processes, kind):
    weights, losses = alone(kind)
    options = STRATEGIES[strategy], options_of(kind, tiny_model)
    arguments = str(tiny_data), str(tiny_model), *options, STEPS
    for found, said in in_processes(processes, "steps", "trained", *arguments):
        assert said == pytest.approx(losses, rel=1e-5)
        assert found.keys() == weights.keys()
        for name, wanted in weights.items():
            assert np.abs(found[name] - wanted).max() <= 1e-5, name


NIGHTLY = [pytest.mark.slow, pytest.mark.nightly]
# deepspeed 2 is asked in the quick suite, the others in CI
LONG = {"ddp", "fsdp", "deepspeed 1", "deepspeed 3"}


@pytest.mark.parametrize(
    "strategy",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in STRATEGIES],
)
def test_two_processes_equal_one(alone, tiny_data, tiny_model, strategy):
    check(alone, tiny_data, tiny_model, strategy, 2, "cached")


def test_what_helps_a_loss_is_shared_out(alone, tiny_data, tiny_model):
    check(alone, tiny_data, tiny_model, "ddp", 2, "query side, helped")


WAYS = [(2, "whole"), (4, "cached, symmetric"), (2, "taught, guided"), (3, "query side, helped")]
ASKED_IN_CI = {("fsdp", "cached, symmetric"), ("deepspeed 3", "taught, guided")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "processes", "kind"),
    [
        pytest.param(
            name, *way, marks=[] if (name, way[1]) in ASKED_IN_CI else [pytest.mark.nightly]
        )
        for name in STRATEGIES
        for way in WAYS
    ],
)
def test_processes_equal_one(alone, tiny_data, tiny_model, strategy, kind, processes):
    check(alone, tiny_data, tiny_model, strategy, processes, kind)


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(name, marks=[] if name in ("fsdp", "deepspeed 2") else NIGHTLY)
        for name in STRATEGIES
    ],
)
def test_in_bf16_a_small_step_is_added_to_exact_weights(tiny_data, tiny_model, strategy):
    """Products are in bf16; what the optimizer adds steps to, and what is saved, is float32."""
    arguments = str(tiny_data), str(tiny_model), STRATEGIES[strategy], 0
    ((before, after),) = in_processes(1, "steps", "moved_in_bf16", *arguments)
    assert before.keys() == after.keys()
    for name, start in before.items():
        # no text has some words and positions; the pooler and a key's bias decide nothing
        if any(part in name for part in ("embeddings", "key.bias", "pooler")):
            continue
        moved = np.abs(after[name] - start)
        assert np.median(moved) > 0.5e-6 and moved.max() < 1.5e-6, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy",
    ["deepspeed 2", *(pytest.param(name, marks=NIGHTLY) for name in ("fsdp", "deepspeed 3"))],
)
def test_in_bf16_weights_that_are_not_trained_stay_exact(tiny_data, tiny_model, strategy):
    arguments = str(tiny_data), str(tiny_model), STRATEGIES[strategy], 2
    ((before, after),) = in_processes(1, "steps", "moved_in_bf16", *arguments)
    for name, start in before.items():
        if "lora" not in name and "pooler" not in name:  # which is random, and not saved
            assert np.array_equal(after[name], start), name
    assert any("lora" in name and not np.array_equal(after[name], before[name]) for name in before)


@pytest.mark.slow
def test_layers_of_a_small_model_are_gathered_less_often(tiny_data, tiny_model):
    """Once a chunk instead of three times, for the same weights to the bit."""
    arguments = str(tiny_data), str(tiny_model)
    again, kept = (
        in_processes(2, "steps", "gathers", *arguments, most, 24)[0] for most in (0, 1 << 30)
    )
    assert kept[1] < 0.6 * again[1]
    assert all(np.array_equal(kept[0][name], wanted) for name, wanted in again[0].items())
