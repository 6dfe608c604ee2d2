"""What a user can set grows only by a visible change of options.txt, and all of it is explained."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from option_lists import LIST, PAGE, frozen_list, page
from source import ROOT

from whet.config import FitConfig
from whet_launch.cli.verbs import VERBS
from whet_launch.options.catalogue import choices_of, group_names, groups_of, keys_of

YAML = sorted((ROOT / "conf" / "whet_conf").rglob("*.yaml"))


@pytest.mark.parametrize(("path", "made"), [(LIST, frozen_list), (PAGE, page)])
def test_the_options_are_the_frozen_ones(path: Path, made: Callable[[], str]) -> None:
    """What is new in the list is seen in review: above all what a stranger's folder may set."""
    message = "If the change is meant, run `make options`."
    assert path.read_text(encoding="utf-8") == made(), message


def test_the_defaults_in_the_readme_are_the_real_ones() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    row = re.compile(r"^\| `([a-z_]+\.[a-z_]+)=\d*` \| `?([^|`]+?)`? \|", re.MULTILINE)
    told = dict(row.findall(text))
    options = keys_of(FitConfig)
    assert len(told) > 3 and told == {key: options[key].default for key in told}


def test_every_option_has_a_meaning() -> None:
    groups = [group for verb in VERBS.values() for group in groups_of(verb.config)]
    assert [
        option.key for group in groups for option in group.options if not option.rules.meaning
    ] == []
    assert [group.name for group in groups if not group.meaning] == []


def test_every_dataclass_group_has_yaml_files_and_the_reverse() -> None:
    conf = ROOT / "conf" / "whet_conf"
    folders = {path.relative_to(conf).parts[0] for path in YAML if path.parent != conf}
    groups = set(group_names(FitConfig))
    assert folders == groups
    assert all(choices_of(group) for group in groups)


@pytest.mark.parametrize("path", YAML, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_yaml_file_opens_with_the_command_that_runs_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0] == "# @package _global_" else lines[0]
    assert first.startswith("# whet ")
    assert "_target_" not in path.read_text(encoding="utf-8")
    if path.parent.name != "whet_conf":
        group, *inner = path.relative_to(ROOT / "conf" / "whet_conf").with_suffix("").parts
        chosen = f"{group}={'/'.join(inner)}"
        assert f" {chosen}" in first
