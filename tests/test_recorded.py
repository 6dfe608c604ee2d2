"""What a configuration in somebody's folder may set: every option is judged, and none slips in."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.config import FitConfig, LabelConfig
from whet.config.option import rules_of
from whet.config.recorded import (
    MAY_DIFFER,
    deciding,
    fill,
    for_the_command_line,
    options_of,
    refuse_other_options,
    refuse_trust,
    spelled_record,
)
from whet.errors import CheckpointError, ConfigError
from whet_launch.cli.verbs import VERBS, Verb

COMMAND_LINE = {key for verb in VERBS.values() for key in for_the_command_line(verb.config)}
RECORDED = {key for verb in VERBS.values() for key in rules_of(verb.config)} - COMMAND_LINE
# each would let a folder send, overwrite, run or start something
DANGEROUS = (
    "model.trust_remote_code launch.mode launch.address launch.insecure launch.num_workers "
    "launch.image launch.claim trainer.num_workers refresh.miners strategy.nvme_path output resume "
    "host"
).split()
OTHER = {str: "other", int: 7, float: 7.5, bool: True}


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_a_key_is_judged_alike_for_every_verb(verb: Verb) -> None:
    """A run's configuration is read by several verbs."""
    recorded = {key for key, rules in rules_of(verb.config).items() if rules.recorded}
    assert recorded <= RECORDED


@pytest.mark.parametrize("key", DANGEROUS)
def test_what_would_harm_is_not_recorded(key: str) -> None:
    assert key in COMMAND_LINE


@pytest.mark.parametrize("config", [FitConfig, LabelConfig])
def test_each_option_of_a_record_is_set_or_left(config: type) -> None:
    for key, value in options_of(config()):
        other: Any = not value if isinstance(value, bool) else None
        other = OTHER.get(type(value), other) if other is None else other
        if other is None:  # an option that is null by default, or a list
            other = [] if isinstance(value, list) else None
        group, _, name = key.rpartition(".")
        made = config()
        left = fill(made, {group: {name: other}} if group else {name: other}, "config.yaml")
        now = dict(options_of(made))
        if key in COMMAND_LINE:
            assert now == dict(options_of(config()))
            assert left == ({key: other} if other != value else {})
        else:
            assert now[key] == other and left == {}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"evil": 1}, "no option evil"),
        ({"model": {"\x1b[2J": 1}}, "no option model.\\x1b[2J"),
        ({"seed": "5"}, "seed cannot be '5'"),
        ({"seed": True}, "seed cannot be True"),
        ({"trainer": {"max_steps": 1.5}}, "trainer.max_steps cannot be 1.5"),
        ({"loss": {"matryoshka_dims": [1, "x"]}}, "loss.matryoshka_dims cannot be [1, 'x']"),
        ({"mining": []}, "mining should hold options by name"),
        ([], "it should hold options by name"),
        ({"output": {"_target_": "os.system"}}, "output cannot be"),
    ],
)
def test_a_record_that_was_changed_is_refused_in_words(record: Any, reason: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        fill(FitConfig(), record, "run/config.yaml")
    assert str(refused.value).startswith("run/config.yaml: ") and reason in str(refused.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from([*asdict(FitConfig()), "other"]), values))
def test_any_record_is_taken_or_refused_in_words(record: dict[str, Any]) -> None:
    config = FitConfig()
    try:
        fill(config, record, "config.yaml")
    except CheckpointError as error:
        assert "\n" not in str(error)
    before = dict(options_of(FitConfig()))
    assert all(value == before[key] for key, value in options_of(config) if key in COMMAND_LINE)


def test_what_is_written_comes_back() -> None:
    config = FitConfig(seed=3)
    config.mining.relative_margin = None
    config.model.query_prompt = "${oc.env:HOME}"  # text like any other: nothing fills it in
    again = FitConfig()
    assert fill(again, asdict(config), "config.yaml") == {} and again == config


def test_trust_is_asked_of_the_command_line() -> None:
    left = fill(FitConfig(), {"model": {"trust_remote_code": True}}, "config.yaml")
    with pytest.raises(ConfigError, match=r"add model\.trust_remote_code=true"):
        refuse_trust(left, "config.yaml")
    refuse_trust({}, "config.yaml")


def test_a_changed_learning_rate_is_named_and_a_moved_folder_is_not() -> None:
    begun = deciding(FitConfig())
    config = FitConfig()
    config.data.path, config.model.name, config.encode.batch_tokens = "moved", "moved", 64
    refuse_other_options(begun, config, "run")
    config.trainer.learning_rate = 1.0
    with pytest.raises(CheckpointError, match=r"trainer\.learning_rate=0\.0001, and its"):
        refuse_other_options(begun, config, "run")


def test_what_may_differ_decides_no_result() -> None:
    assert not [key for key in deciding(FitConfig()) if key.startswith(MAY_DIFFER)]


def test_a_record_is_told_in_one_line() -> None:
    config = FitConfig(seed=3)
    config.data.path = "a\nb"
    assert spelled_record(config) == "data.path=a\\nb, model.name=minilm, seed=3"
