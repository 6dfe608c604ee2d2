"""Wrong values are refused before anything is read, loaded or written."""

import math
import re
from functools import reduce

import pytest

import whet
from whet.config import (
    BenchConfig,
    EncodeJobConfig,
    EvalConfig,
    FitConfig,
    LabelConfig,
    LaunchConfig,
    MineConfig,
    StrategyConfig,
)
from whet.config.option import rules_of
from whet.config.ranges import check_options
from whet.errors import ConfigError
from whet.run.refusals import check_fit


@pytest.mark.parametrize(
    "config", [FitConfig, MineConfig, EvalConfig, EncodeJobConfig, LabelConfig, BenchConfig]
)
def test_what_an_option_takes_is_what_is_checked(config):
    """Each choice and both ends of each range pass; anything else is refused by the option's name.

    The mining policy has rules beyond these, and its own tests.
    """
    for key, rules in rules_of(config).items():
        allowed = [*rules.choices, *([] if rules.least is None else [rules.least, rules.most])]
        wrong = ["other"] if rules.choices else []
        wrong += [rules.least - 1, math.nan] if rules.least is not None else []
        if key.startswith("mining."):
            continue
        for value in allowed:
            check_options(with_option(config(), key, value))
        for value in wrong:
            with pytest.raises(ConfigError, match=f"^{re.escape(key)}={value} "):
                check_options(with_option(config(), key, value))


def with_option(config, key, value):
    *groups, name = key.split(".")
    setattr(reduce(getattr, groups, config), name, value)
    return config


@pytest.mark.parametrize(
    "config",
    [FitConfig(), MineConfig(), EvalConfig(), EncodeJobConfig(), LabelConfig(), BenchConfig()],
)
def test_defaults_are_allowed(config):
    check_options(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"loss": {"cache": "neverr"}},
            "loss.cache=neverr is unknown. Did you mean never? It takes",
        ),
        (
            {"refresh": {"policy": "hourly"}},
            "refresh.policy=hourly is unknown. It takes off, steps",
        ),
        (
            {"trainer": {"batch_size": 0}},
            "trainer.batch_size=0 is out of range. It takes 1 or more.",
        ),
        (
            {"trainer": {"warmup_ratio": 2}},
            "trainer.warmup_ratio=2 is out of range. It takes 0 to 1.",
        ),
        ({"trainer": {"max_step": 2}}, "TrainerConfig has no option 'max_step'. Did you mean"),
        (
            {"loss": {"temperature": 0}},
            "loss.temperature=0 is out of range. It takes 0.0001 or more.",
        ),
        (
            {"mining": {"sampling": "tpo"}},
            "mining.sampling=tpo is not known. Choose from top, random.",
        ),
        ({"evaluate": {"measures": ["nDGC@10"]}}, "nDCG"),
        ({"seed": -1}, "seed=-1 is out of range. It takes 0 or more."),
    ],
)
def test_wrong_values_are_named_before_any_work(tmp_path, options, message):
    """The data do not even exist: the option is refused first."""
    with pytest.raises(whet.ConfigError, match=re.escape(message)):
        whet.fit(str(tmp_path / "nothing"), output=str(tmp_path / "run"), **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU")
def test_a_search_that_cannot_run_here_is_refused_before_any_work(tmp_path):
    with pytest.raises(whet.EnvironmentRefused, match="backend=gpu needs a CUDA GPU"):
        whet.fit(str(tmp_path / "nothing"), output=str(tmp_path / "run"), mining={"backend": "gpu"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (StrategyConfig(name="single"), "strategy=single trains in one process"),
        (StrategyConfig(name="deepspeed", stage=3, offload="nvme"), "needs strategy.nvme_path"),
    ],
)
def test_a_strategy_that_cannot_be_is_refused_before_any_work(strategy, message):
    config = FitConfig(strategy=strategy, launch=LaunchConfig(num_workers=2))
    with pytest.raises(ConfigError, match=message):
        check_fit(config)


def test_a_disk_offload_that_cannot_be_compiled_is_refused_before_any_work(monkeypatch, tmp_path):
    """DeepSpeed would say so in a traceback, after the mining."""
    builders = pytest.importorskip("deepspeed.ops.op_builder")
    monkeypatch.setattr(builders.AsyncIOBuilder, "is_compatible", lambda self, verbose=False: False)
    strategy = StrategyConfig(name="deepspeed", stage=3, offload="nvme", nvme_path=str(tmp_path))
    with pytest.raises(
        whet.EnvironmentRefused, match="nvme needs libaio-dev and a C\\+\\+ compiler"
    ):
        check_fit(FitConfig(strategy=strategy))
