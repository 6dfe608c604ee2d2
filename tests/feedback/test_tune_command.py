"""`whet tune`: a folder of feedback in, a version out; back and forth; refusals in a line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from labelling import judged_folder

from whet.config import ModelConfig, TuneConfig
from whet.errors import ConfigError
from whet.feedback.tuning import Tuner
from whet.feedback.versions import Versions
from whet.model.towers import open_model
from whet_launch.cli import main


@pytest.fixture
def home(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> Path:
    """Feedback on 30 queries, as the page would have left it."""
    return judged_folder(tiny_data, tiny_model, tmp_path / "feedback")


def test_feedback_becomes_a_version_that_can_be_judged(home, tiny_data, tmp_path, capsys):
    assert main(["tune", str(home), "ship=true"]) == 0
    said = capsys.readouterr()
    assert "judged queries, each left out when it was scored" in said.out
    assert f"Version 1: {home}/versions/0001/model" in said.err
    versions = Versions(home, ModelConfig())
    facts = versions.all()[1]
    assert (facts["state"] == "shipped") == facts["better"] == (versions.current() == 1)
    model = home / "versions" / "0001" / "model"
    words = ["eval", f"data={tiny_data}", f"model={model}", f"output={tmp_path}/eval"]
    assert main(words) == 0
    assert "nDCG@10" in capsys.readouterr().out
    assert (
        "# " in (model / "README.md").read_text()
        and facts["why"] in (model / "README.md").read_text()
    )
    assert main(["tune", str(home), "use=0"]) == 0
    assert versions.current() == 0


def test_the_same_events_make_the_same_version(home):
    for _ in range(2):
        assert main(["tune", str(home), "tune.method=matrix"]) == 0
    first, second = (
        open_model(str(home / "versions" / number / "model")) for number in ("0001", "0002")
    )
    assert first.fingerprint() == second.fingerprint()


def test_a_child_tunes_and_tells_where_it_stands(home):
    tuner = Tuner(home, TuneConfig(method="matrix"))
    assert not tuner.state()["running"]
    tuner.start()
    assert tuner.state()["running"]
    with pytest.raises(ConfigError, match="A tune is running"):
        Tuner(home, TuneConfig()).start()  # another server on the same folder
    deadline = time.monotonic() + 120
    while tuner.state()["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    state = tuner.state()
    assert (state["version"], state["error"]) == (1, None)
    assert "judged queries" in state["message"]


def test_a_tune_that_is_stopped_or_killed_leaves_nothing(home):
    tuner = Tuner(home, TuneConfig())
    tuner.start()
    tuner.stop()
    assert tuner.state()["message"] == "Stopped." and not tuner.state()["running"]
    tuner.start()
    tuner.process.kill()
    tuner.process.join()
    assert "was killed" in tuner.state()["error"]
    assert len(Versions(home, ModelConfig()).all()) == 1
    assert main(["tune", str(home), "tune.method=matrix"]) == 0  # nothing is in the way


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["{home}", "use=4"], 2, "There is no version 4"),
        (["{home}", "tune.method=magic"], 2, "tune.method=magic is unknown"),
        (["{home}/nowhere"], 2, "no folder of feedback"),
        ([], 2, "folder must be set"),
    ],
)
def test_refusals_are_one_line(home, capsys, words, code, told):
    assert main(["tune", *(word.format(home=home) for word in words)]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and told in lines[0]


def test_too_little_feedback_says_what_is_missing(tiny_data, tiny_model, tmp_path, capsys):
    home = judged_folder(tiny_data, tiny_model, tmp_path / "feedback", [])
    assert main(["tune", str(home)]) == 3
    assert "0 judged queries have a relevant document" in capsys.readouterr().err
