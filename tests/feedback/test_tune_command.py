"""`whet tune`: a folder of feedback in, a version out; back and forth; refusals in a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from labelling import judged_folder

from whet.config import EncodeConfig, ModelConfig, TuneConfig
from whet.data.load import load_dataset
from whet.encoding.store import embeddings_folder
from whet.encoding.table import encode_table
from whet.errors import CheckpointError, ConfigError
from whet.evaluation.lexical import corpus_words
from whet.evaluation.trec import read_run
from whet.feedback.events.store import EVENTS, EventStore
from whet.feedback.learn.checks import guard_check
from whet.feedback.learn.job import Tuner, begun_config, tune_folder
from whet.feedback.learn.versions import KINDS, Versions
from whet.feedback.serve.session import Session
from whet.model.towers import open_model
from whet.storage.lock import in_use
from whet_launch.cli.main import main

START = """
import sys, time
from pathlib import Path
from whet.config import TuneConfig
from whet.feedback.learn.job import Tuner
if __name__ == "__main__":
    tuner = Tuner(Path(sys.argv[1]), TuneConfig())
    tuner.start()
    print("started", flush=True)
    time.sleep(100)
"""


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


def test_a_version_that_counts_words_is_judged_as_it_searches(home, tiny_data, tmp_path, capsys):
    """The page, the check of a tune and `whet eval` find the same documents."""
    assert main(["tune", str(home), "tune.method=words", "ship=true"]) == 0
    model = home / "versions" / "0001" / "model"
    weight = json.loads((model / "words.json").read_text())["weight"]
    assert weight > 0 and f"count {weight:g}" in (model / "README.md").read_text()
    out = tmp_path / "eval"
    assert main(["eval", f"data={tiny_data}", f"model={model}", f"output={out}"]) == 0
    data = load_dataset(str(tiny_data))
    towers = open_model(str(model))
    corpus = encode_table(towers, data.corpus, kind="document", store=embeddings_folder())
    check = guard_check(
        data,
        corpus,
        towers,
        other=None,
        avoid=set(),
        encode=EncodeConfig(),
        words=corpus_words(data.corpus),
    )
    scores = check.scores(towers.encode(check.texts, kind="query"), weight)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["model"]["nDCG@10"] == pytest.approx(scores.mean(), abs=1e-9)
    run = read_run(out / "trec" / "model.run.gz")
    session = Session(data, Versions(home, ModelConfig()), EventStore(home / EVENTS))
    try:
        assert session.version == 1
        for query_id in list(run)[:5]:
            text = data.queries.text(int(data.queries.rows_of([query_id])[0]))
            found = session.search(text, None, 10, "somebody else")["found"]
            assert found == list(run[query_id])[:10]
            assert [one["doc_id"] for one in session.find(text, 10)] == found
    finally:
        session.close()
    words = ["encode", f"data={tiny_data}", f"model={model}", f"output={tmp_path}/vectors"]
    capsys.readouterr()
    assert main(words) == 0
    assert f"with weight {weight:g}; its vectors know nothing" in capsys.readouterr().err


def test_without_words_a_version_is_its_vectors_alone(home):
    assert main(["tune", str(home), "tune.method=matrix", "tune.words=false"]) == 0
    assert not (home / "versions" / "0001" / "model" / "words.json").exists()
    assert "Words in common" not in Versions(home, ModelConfig()).facts(1)["why"]


def test_the_same_events_make_the_same_version(home):
    for _ in range(2):
        assert main(["tune", str(home), "tune.method=matrix"]) == 0
    first, second = (
        open_model(str(home / "versions" / number / "model")) for number in ("0001", "0002")
    )
    assert first.fingerprint() == second.fingerprint()


@pytest.mark.slow
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


def test_a_folder_of_feedback_trusts_nobodys_code(home, tmp_path, capsys):
    copy = shutil.copytree(home, tmp_path / "strangers")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["trust_remote_code"] = True
    config["tune"]["method"] = "${oc.env:HOME}"
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["tune", str(copy), "use=0"]) == 2
    assert "add trust_remote_code=true" in capsys.readouterr().err
    assert begun_config(copy, trust=True).tune.method == "${oc.env:HOME}"  # nothing fills it in


@pytest.mark.parametrize("process", [None, 1, 2**22 + 1])
def test_a_tune_that_died_can_be_started_again(home, process):
    """Whatever has its process id by now: this one, another, none."""
    process = process or os.getpid()
    (home / "tuning.json").write_text(json.dumps({"process": process, "phase": "x", "total": 9}))
    tuner = Tuner(home, TuneConfig(method="matrix"))
    state = tuner.state()
    assert not state["running"] and "was killed" in state["error"]
    tuner.start()
    try:
        assert tuner.state()["running"]  # from the first moment: the child was given the lock
        with pytest.raises(CheckpointError, match="is in use"):
            tune_folder(home, TuneConfig(), lambda phase, done, total: None)
    finally:
        tuner.stop()
    assert not tuner.state()["running"]


@pytest.mark.slow
def test_a_tune_ends_with_its_server(home):
    command = [sys.executable, "-c", START, str(home)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "started\n"
    assert in_use(home / "tune")
    server.kill()
    server.wait()
    end = time.monotonic() + 120
    while in_use(home / "tune"):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert not Tuner(home, TuneConfig()).state()["running"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"process": "x"}', '{"total": "9"}', '{"x": 1}', '{"done": null}'],
)
def test_a_damaged_state_of_a_tune_is_told_and_written_anew(home, content):
    (home / "tuning.json").write_text(content)
    tuner = Tuner(home, TuneConfig(method="matrix"))
    state = tuner.state()
    assert not state["running"] and "tuning.json is damaged" in state["error"]
    tuner.start()
    tuner.stop()
    assert tuner.state()["error"] is None
    assert (home / "tuning.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", ["", "x", "-1", "1.5", "9" * 5000, "\x00", "1\n2"])
def test_a_damaged_current_is_told_and_can_be_set_anew(home, capsys, content):
    (home / "versions").mkdir(exist_ok=True)
    (home / "versions" / "current").write_text(content)
    with pytest.raises(CheckpointError, match=r"current (is damaged|has 5,000 bytes).* use=N"):
        Versions(home, ModelConfig()).current()
    assert main(["tune", str(home), "use=0"]) == 0
    assert Versions(home, ModelConfig()).current() == 0


def test_a_damaged_record_of_a_version_is_told(tuned):
    path = tuned / "versions" / "0001" / "version.json"
    assert path.stat().st_mode & 0o077 == 0  # it holds queries
    right = json.loads(path.read_text())
    versions = Versions(tuned, ModelConfig())
    versions.discard(1)
    assert path.stat().st_mode & 0o077 == 0
    wrong = [right | {name: []} if name != "lists" else right | {name: {}} for name in KINDS]
    lost = [{key: right[key] for key in right if key != name} for name in KINDS]
    for content in ["", "[]", "{}", "{", *map(json.dumps, wrong + lost)]:
        path.write_text(content)
        with pytest.raises(CheckpointError, match=r"version.json is damaged.*tune again"):
            versions.all()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["{home}", "use=4"], 2, "There is no version 4"),
        (["{home}", "tune.method=magic"], 2, "tune.method=magic is unknown"),
        (["{home}", "tune.method=words", "tune.words=false"], 2, "Leave one of them out"),
        (["{home}/nowhere"], 2, "no folder of feedback"),
        ([], 2, "folder must be set"),
    ],
)
def test_refusals_are_one_line(home, capsys, words, code, told):
    assert main(["tune", *(word.format(home=home) for word in words)]) == code
    *before, last = capsys.readouterr().err.splitlines()
    assert told in last and all(line.startswith("As ") for line in before)


def test_too_little_feedback_says_what_is_missing(tiny_data, tiny_model, tmp_path, capsys):
    home = judged_folder(tiny_data, tiny_model, tmp_path / "feedback", [])
    assert main(["tune", str(home)]) == 3
    assert "0 judged queries have a relevant document" in capsys.readouterr().err
