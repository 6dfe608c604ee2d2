"""The YAML groups and the dataclasses say the same; a resumed run keeps its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from whet.bench.suites import SUITES
from whet.config import FitConfig, LaunchConfig
from whet_launch.cli.verbs import VERBS
from whet_launch.options.catalogue import choices_of, group_names

Whet = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("verb", ["fit", "mine", "encode", "eval", "label", "plan"])
def test_the_yaml_defaults_are_the_dataclass_defaults(calls: Any, whet: Whet, verb: str) -> None:
    assert whet(verb, "data=x")[0] == 0
    expected = VERBS[verb].config()
    expected.data.path = "x"
    assert calls == [expected]


CHOICES = {name: choices_of(name) for name in group_names(FitConfig) if name != "experiment"}


@pytest.mark.parametrize("row", range(max(map(len, CHOICES.values()))))
def test_every_yaml_file_composes(calls: Any, whet: Whet, row: int) -> None:
    """A file of each group at once: composing takes half a second, and the groups are many."""
    words = [f"{group}={names[row % len(names)]}" for group, names in CHOICES.items()]
    assert whet("fit", *words) == (0, "", "")
    assert isinstance(calls[0], FitConfig) and calls[0].data.path != "???"


@pytest.mark.parametrize("recipe", choices_of("experiment"))
def test_every_recipe_composes(calls: Any, whet: Whet, recipe: str) -> None:
    judged = {suite.folder for suite in SUITES.values() if suite.verb == "eval"}
    verb = "eval" if recipe.partition("/")[0] in judged else "fit"
    assert whet(verb, f"experiment={recipe}") == (0, "", "")
    assert isinstance(calls[0], VERBS[verb].config) and calls[0].data.path != "???"


def test_naive_mining_has_no_margin(calls: Any, whet: Whet) -> None:
    whet("fit", "data=x", "mining=naive")
    assert calls[0].mining.relative_margin is None
    assert calls[0].refresh.policy == "off"  # YAML would read a bare off as false


def _begun(folder: Path, config: FitConfig) -> Path:
    folder.mkdir()
    OmegaConf.save(OmegaConf.structured(config), folder / "config.yaml")
    return folder


def _run_config() -> FitConfig:
    config = FitConfig(seed=5)
    config.data.path = "my/data"
    config.mining.num_negatives = 4
    return config


def test_resume_takes_the_configuration_of_the_run(calls: Any, whet: Whet, tmp_path: Path) -> None:
    run = _begun(tmp_path / "run", _run_config())
    assert whet("fit", f"resume={run}")[0] == 0
    expected = _run_config()
    expected.resume = str(run)
    assert calls == [expected]


def test_the_same_command_resumes(calls: Any, whet: Whet, tmp_path: Path) -> None:
    run = _begun(tmp_path / "run", _run_config())
    words = ["data=my/data", "mining.num_negatives=4", "seed=5", f"resume={run}"]
    assert whet("fit", *words)[0] == 0
    assert calls[0].mining.num_negatives == 4


def test_resume_may_move_data_but_not_change_the_job(
    calls: Any, whet: Whet, tmp_path: Path
) -> None:
    run = _begun(tmp_path / "run", _run_config())
    assert whet("fit", "data=moved", f"resume={run}")[0] == 0
    assert calls[0].data.path == "moved"
    for word in ("mining.num_negatives=3", "seed=0", "mining=shifted", "trainer.max_steps=200"):
        code, _, err = whet("fit", word, f"resume={run}")
        assert code == 2
        assert "A resumed run goes on as it was begun" in err


def test_a_run_folder_says_what_is_computed_and_no_more(
    calls: Any, whet: Whet, tmp_path: Path
) -> None:
    config = _run_config()
    config.launch.mode, config.launch.address, config.launch.insecure = "job", "http://x", True
    config.launch.num_workers, config.trainer.num_workers = 200, 100
    config.output, config.model.query_prompt = "/victim", r"\${oc.env:HOME}"
    run = _begun(tmp_path / "run", config)
    code, _, err = whet("fit", f"resume={run}", "launch.num_workers=2")
    assert code == 0
    assert calls[0].launch == LaunchConfig(num_workers=2)
    assert (calls[0].output, calls[0].trainer.num_workers) == (None, None)
    assert calls[0].model.query_prompt == r"\${oc.env:HOME}"  # as it stands, nothing filled in
    assert f"As {run}/config.yaml says: data.path=my/data, model.name=minilm, " in err
    assert "was begun with trainer.num_workers=100 launch.mode=job launch.num_workers=200" in err


def test_a_run_folder_trusts_nobodys_code(calls: Any, whet: Whet, tmp_path: Path) -> None:
    config = _run_config()
    config.model.trust_remote_code = True
    run = _begun(tmp_path / "run", config)
    code, _, err = whet("fit", f"resume={run}")
    assert code == 2 and "add model.trust_remote_code=true" in err and calls == []
    assert whet("fit", f"resume={run}", "model.trust_remote_code=true")[0] == 0
    assert calls[0].model.trust_remote_code


def test_resume_needs_a_run_folder(calls: Any, whet: Whet, tmp_path: Path) -> None:
    code, _, err = whet("fit", f"resume={tmp_path}")
    assert code == 1
    assert "holds no config.yaml" in err
