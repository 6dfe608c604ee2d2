"""A folder of recipes says what is computed, never what runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Whet = Callable[..., tuple[int, str, str]]
GLOBAL = "# @package _global_\n"
TOUCH = "{_target_: pathlib.Path.touch, self: {_target_: pathlib.Path, _args_: [CANARY]}}"

HARMFUL = {
    "callbacks": GLOBAL + f"hydra: {{callbacks: {{x: {TOUCH}}}}}",
    "a list of callbacks": GLOBAL + f"hydra:\n  callbacks:\n    x: {TOUCH}",
    "logging": GLOBAL + "hydra: {job_logging: {handlers: {x: {'()': os.system}}}}",
    "defaults": GLOBAL + "defaults: [override /hydra/launcher: x]",
    "a default in another package": GLOBAL + "defaults: [/mining@hydra.callbacks: default]",
    "a package of Hydra's": f"# @package hydra.callbacks\nx: {TOUCH}",
    "a target anywhere": GLOBAL + f"data: {{path: {TOUCH}}}",
    "an environment variable": GLOBAL + "model: {query_prompt: '${oc.env:HOME}'}",
    "a nested one": GLOBAL + "model: {query_prompt: '${${seed}:HOME}'}",
    "a call of a logger": GLOBAL + "data: {'()': os.system}",
}


def _recipe(folder: Path, text: str, name: str = "experiment/evil.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("CANARY", str(folder / "canary")))
    return path


@pytest.mark.parametrize("kind", HARMFUL)
@pytest.mark.parametrize("sweep", [[], ["seed=1,2", "-m"]], ids=["one run", "a sweep"])
def test_a_recipe_that_reaches_for_more_is_refused(
    calls: Any, whet: Whet, tmp_path: Path, kind: str, sweep: list[str]
) -> None:
    path = _recipe(tmp_path / "own", HARMFUL[kind])
    words = ["data=x", "experiment=evil", "-cd", str(tmp_path / "own"), *sweep]
    code, _, err = whet("fit", *words)
    assert code == 2 and str(path) in err and "a recipe is not to decide that" in err
    assert calls == [] and not (tmp_path / "own/canary").exists()


def test_a_folder_of_hydras_own_groups_is_refused(calls: Any, whet: Whet, tmp_path: Path) -> None:
    _recipe(tmp_path / "own", "x: 1", "hydra/launcher/basic.yaml")
    assert whet("fit", "data=x", "-cd", str(tmp_path / "own"))[0] == 2
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/experiment").symlink_to(tmp_path / "own/hydra")
    _recipe(tmp_path / "more", HARMFUL["callbacks"])
    (tmp_path / "linked/mining").symlink_to(tmp_path / "more/experiment")
    code, _, err = whet("fit", "data=x", f"--config-dir={tmp_path / 'linked'}")
    assert code == 2 and "evil.yaml sets options of Hydra" in err and calls == []


def test_another_way_to_name_a_folder_is_refused(calls: Any, whet: Whet, tmp_path: Path) -> None:
    _recipe(tmp_path / "own", HARMFUL["callbacks"])
    word = f"hydra.searchpath=[file://{tmp_path / 'own'}]"
    code, _, err = whet("fit", "data=x", word)
    assert code == 2 and "say -cd FOLDER" in err and calls == []


@pytest.mark.parametrize(
    "setting",
    [
        "launch: {mode: job, address: 'http://10.0.0.1:8265'}",
        "launch: {num_workers: 200}",
        "model: {trust_remote_code: true}",
        "output: /victim",
        "resume: /victim",
        "trainer: {num_workers: 1000}",
        "strategy: {nvme_path: /victim}",
    ],
)
def test_what_is_for_the_command_line_is_no_recipes(
    calls: Any, whet: Whet, tmp_path: Path, setting: str
) -> None:
    _recipe(tmp_path / "own", GLOBAL + setting)
    words = ["data=x", "experiment=evil", "-cd", str(tmp_path / "own")]
    code, _, err = whet("fit", *words)
    assert code == 2 and "that is for the command line alone" in err and calls == []


def test_the_same_said_on_the_command_line_is_done(calls: Any, whet: Whet, tmp_path: Path) -> None:
    _recipe(tmp_path / "own", GLOBAL + "launch: {num_workers: 2}\nmining: {num_negatives: 3}")
    words = ["data=x", "experiment=evil", "-cd", str(tmp_path / "own"), "launch.num_workers=2"]
    assert whet("fit", *words)[0] == 0
    assert (calls[0].launch.num_workers, calls[0].mining.num_negatives) == (2, 3)


def test_a_group_file_named_on_the_command_line_is_asked_for(
    calls: Any, whet: Whet, tmp_path: Path
) -> None:
    _recipe(tmp_path / "own", "mode: ray\nnum_workers: 4", "launch/ours.yaml")
    assert whet("fit", "data=x", "launch=ours", "-cd", str(tmp_path / "own"))[0] == 0
    assert calls[0].launch.num_workers == 4
    _recipe(tmp_path / "other", "name: m\ntrust_remote_code: true", "model/theirs.yaml")
    code, _, err = whet("fit", "data=x", "model=theirs", "-cd", str(tmp_path / "other"))
    assert code == 2 and "add model.trust_remote_code=true" in err
