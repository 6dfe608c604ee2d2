"""The skill that teaches a coding agent: every command in it is run, in its order."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from whet_launch.cli.main import main
from whet_launch.cli.verbs import VERBS

SKILL = Path(__file__).parents[2] / "skills" / "whet" / "SKILL.md"
TEXT = SKILL.read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()
]


def test_its_head_is_what_agents_read() -> None:
    front = yaml.safe_load(TEXT.split("---\n")[1])
    assert front["name"] == SKILL.parent.name == "whet"
    assert 50 < len(front["description"]) <= 1024
    assert len(TEXT.splitlines()) < 500


def test_every_verb_and_option_in_it_exists() -> None:
    named = {match[1] for match in re.finditer(r"`?whet ([a-z]+)[ `]", TEXT)}
    assert {word for word in named if word not in VERBS} <= {"makes"}
    keys = set(re.findall(r"`((?:trainer|mining|data|model)\.[a-z_]+)=", TEXT))
    options = (SKILL.parents[2] / "docs" / "options.md").read_text(encoding="utf-8")
    assert len(keys) > 3 and {key for key in keys if f"`{key}`" not in options} == set()


@pytest.mark.slow
@pytest.mark.nightly
def test_every_command_in_it_runs(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_data, tmp_path / "my" / "data")
    small = {
        "fit": [f"model={tiny_model}", "trainer.max_steps=2", "trainer.batch_size=16"],
        "eval": [],
    }
    assert len(COMMANDS) > 6
    for command in COMMANDS:
        program, verb, *words = shlex.split(
            command.replace("baseline=minilm", f"baseline={tiny_model}")
        )
        assert program == "whet"
        assert main([verb, *words, *small.get(verb, [])]) == 0, command
    assert (tmp_path / "runs" / "first" / "model" / "model.safetensors").is_file()
