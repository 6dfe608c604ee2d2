"""`whet adapt` with queries that a language model writes, end to end on tiny folders."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scripted_model import Reply, ScriptedModel, said, usual

import whet
from whet.errors import ConfigError, EnvironmentRefused
from whet.run.licences_found import statements_in
from whet_launch.cli.main import main

KEY = "sk-test-4711-secret"
SYLLABLES = "ba ce di fo gu ka le mi no pu ra se ti vo zu".split()
WORDS = [first + second for first in SYLLABLES for second in SYLLABLES]


@pytest.fixture(scope="module")
def lists(tmp_path_factory) -> Path:
    """A folder of 64 lists of words, from which no query is made, and beside it a short log."""
    random = np.random.default_rng(4)
    home = tmp_path_factory.mktemp("written") / "lists"
    home.mkdir()
    for number in range(64):
        text = " ".join(random.choice(WORDS, 6, replace=False))
        (home / f"{number:02}.txt").write_text(f"{text} {number}\n")
    asked = [f"where is the {' '.join(random.choice(WORDS, 2))}" for _ in range(20)]
    (home.parent / "log.txt").write_text("\n".join(asked) + "\n")
    return home


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Short trainings, and shards of 16."""
    monkeypatch.setattr("whet.adaptation.adapted.STEPS", 60)
    monkeypatch.setattr("whet.adaptation.generate.generated.AT_ONCE", 16)


def files_with(words: str, *folders: Path) -> list[Path]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [path for path in files if words.encode() in path.read_bytes()]


def test_a_language_model_writes_queries_that_are_learned_from(
    lists, tiny_model, language_model, tmp_path, monkeypatch, capsys, own_cache
):
    from whet.model.towers import open_model

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_KEY", KEY)
    waiting = [
        Reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.1"}),
        Reply(500, "oops"),
    ]
    odd = {
        7: said("I'm sorry, but I cannot help."),
        8: said(""),
        9: Reply(body="<html>welcome</html>"),
        10: Reply(400, {"error": {"message": "content filter"}}),
    }

    def script(asked):
        if waiting:
            return waiting.pop()
        number = int(asked.document.split()[-1])
        if number == 11:
            return said(asked.document)
        return odd.get(number) or (said("the same for two") if number in (5, 6) else usual(asked))

    language_model.script = script
    command = ["adapt", f"data={lists}", f"queries={lists.parent / 'log.txt'}", "search=vectors"]
    command += [f"model={tiny_model}", f"generate.url={language_model.url}", "generate.model=tiny"]
    command += ["generate.key=MY_KEY", "generate.examples=4", "generate.licence=Apache-2.0"]
    assert main([*command, "generate.yes=true", "output=run"]) == 0
    told = capsys.readouterr()
    assert "will be asked at most 64 times" in told.err and "4 queries of the log" in told.err
    run = tmp_path / "run"
    record = json.loads((run / "adaptation.json").read_text())
    host = language_model.url.removeprefix("http://").removesuffix("/v1")
    assert record["generated"] == {
        "model": "tiny",
        "where": host,
        "licence": "Apache-2.0",
        "asked": 64,
        "kept": 58,
        "dropped": record["generated"]["dropped"],
        "examples": 4,
        "judge": None,
    }
    assert record["generated"]["dropped"] == {
        "refused to write": 1,
        "empty": 1,
        "without an answer that can be read": 2,
        "copied from the document": 1,
        "written twice": 1,
    }
    assert record["trained"] == "generated" and record["made"] == {}
    assert len(language_model.asked) == 66 and sorted(set(language_model.documents())) == sorted(
        path.read_text().strip() for path in lists.iterdir()
    )
    log = (lists.parent / "log.txt").read_text().splitlines()
    (system,) = {asked.system for asked in language_model.asked}
    assert sum(f"\n- {query}" in system for query in log) == 4
    assert {asked.key for asked in language_model.asked} == {f"Bearer {KEY}"}
    assert files_with(KEY, tmp_path, own_cache) == [] and KEY not in told.out + told.err
    assert f"tiny (at {host}, licence: Apache-2.0) wrote queries for 64 documents" in told.out
    page, card = (run / "report.html").read_text(), (run / "model" / "README.md").read_text()
    assert "Queries of a language model" in page and "content filter" not in page
    assert f"58 queries that this model learned from were written by `tiny`, at {host}" in card
    (stated,) = [one for one in statements_in(run / "model") if "tiny" in one.says]
    assert "Apache-2.0" in stated.says  # so a bundle of what is made from it quotes it
    ours, base = open_model(str(run / "model")), open_model(str(tiny_model))
    texts = ["bace difo", "guka zuzu"]
    moved = {
        kind: np.abs(ours.encode(texts, kind=kind) - base.encode(texts, kind=kind)).max()
        for kind in ("query", "document")
    }
    assert moved["query"] > 1e-3 and moved["document"] == 0


def options(lists, tiny_model, language_model: ScriptedModel, **generate) -> dict:
    written = {"url": language_model.url, "model": "tiny", **generate}
    return {"model": str(tiny_model), "search": "vectors", "generate": written}


def test_nothing_is_sent_before_the_cost_is_agreed_to(
    lists, tiny_model, language_model, tmp_path, capsys
):
    given = options(lists, tiny_model, language_model, documents=40, price_in=1.0, price_out=2.0)
    with pytest.raises(ConfigError, match=r"Nothing was sent.*generate\.yes=true"):
        whet.adapt(str(lists), output=str(tmp_path / "run"), **given)
    told = " ".join(capsys.readouterr().err.split())
    assert "tiny at 127.0.0.1:" in told and "at most 40 times" in told
    assert "at the prices given" in told and "first 3,000 characters" in told
    assert language_model.asked == [] and not (tmp_path / "run").exists()


def test_the_same_command_asks_only_for_what_lacks(lists, tiny_model, language_model, tmp_path):
    """The address fails in the third shard of four; then it is whole."""
    given = options(lists, tiny_model, language_model, yes=True, requests=1)

    def script(asked):
        full = len(language_model.asked) > 40
        return Reply(403, {"error": {"message": "quota"}}) if full else usual(asked)

    language_model.script = script
    with pytest.raises(EnvironmentRefused, match=r"403.*the same command goes on from there"):
        whet.adapt(str(lists), output=str(tmp_path / "run"), **given)
    assert len(language_model.asked) == 41 and not (tmp_path / "run").exists()
    kept = language_model.documents()[:32]
    language_model.script = usual
    language_model.asked.clear()
    again = whet.adapt(str(lists), output=str(tmp_path / "run"), **given)
    assert len(language_model.asked) == 32 and set(kept).isdisjoint(language_model.documents())
    language_model.asked.clear()
    whole = whet.adapt(str(lists), output=str(tmp_path / "other"), **given)
    assert language_model.asked == []
    assert {**again.record, "next": []} == {**whole.record, "next": []}


def test_an_address_where_nobody_listens_is_told_before_any_work(
    lists, tiny_model, language_model, tmp_path, capsys
):
    """But where all answers are kept nobody needs to listen."""
    from whet.encoding.store import embeddings_folder

    given = options(lists, tiny_model, language_model, yes=True, documents=32)
    first = whet.adapt(str(lists), output=str(tmp_path / "first"), **given)
    assert len(language_model.asked) == 32
    language_model.server.shutdown()
    language_model.server.server_close()
    again = whet.adapt(str(lists), output=str(tmp_path / "again"), **given)
    assert {**again.record, "next": []} == {**first.record, "next": []}
    others = tmp_path / "others"
    others.mkdir()
    for number in range(64):
        (others / f"{number}.txt").write_text(f"document {number} that nobody encoded\n")
    before = set(embeddings_folder().rglob("*"))
    command = ["adapt", f"data={others}", "search=vectors", f"model={tiny_model}"]
    command += [f"generate.url={language_model.url}", "generate.model=tiny", "generate.yes=true"]
    capsys.readouterr()
    assert main([*command, f"output={tmp_path}/none"]) == EnvironmentRefused.exit_code
    *_, line = capsys.readouterr().err.splitlines()
    assert "cannot be reached" in line and line.endswith("Nothing was done yet.")
    assert set(embeddings_folder().rglob("*")) == before and not (tmp_path / "none").exists()


def test_a_cross_encoder_orders_what_they_find(
    lists, tiny_model, tiny_cross_encoder, language_model, tmp_path
):
    given = options(lists, tiny_model, language_model, yes=True, judge=str(tiny_cross_encoder))
    done = whet.adapt(str(lists), output=str(tmp_path / "run"), **given)
    record = done.record["generated"]
    assert record["judge"] == "model" and record["kept"] == 64 == len(language_model.asked)
    assert "their lists as model orders them" in " ".join(done.record["done"])


def test_a_model_of_this_machine_is_refused_where_it_cannot_run(lists, tiny_model, capsys):
    command = ["adapt", f"data={lists}", f"model={tiny_model}", "search=vectors"]
    assert (
        main([*command, "generate.local=no/such", "generate.yes=true"])
        == EnvironmentRefused.exit_code
    )
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and ("vLLM" in told or "Ray" in told) and "generate.url" in told


@pytest.mark.slow
def test_ray_takes_what_a_local_model_is_asked_by(tiny_model):
    """Its stages are built as for a model with a GPU; no engine is started."""
    pytest.importorskip("ray.data.llm")
    from whet_launch.cluster.vllm_engine import VllmEngine, _answer, _asked, _kept

    processor = VllmEngine(str(tiny_model)).processor(1)
    assert "vLLMEngineStage" in str(processor.list_stage_names())
    row = _asked({"place": 3, "messages": [{"role": "user", "content": "x"}]})
    assert row["place"] == 3 and row["sampling_params"]["max_tokens"] > 0
    assert _answer(_kept({**row, "generated_text": "a query", "__inference_error__": ""})).text
    assert _answer({"place": 3, "__inference_error__": "too long"}).problem == "too long"


@pytest.mark.slow
def test_a_kill_loses_no_answer_that_was_kept(lists, tiny_model, language_model, tmp_path):
    """kill -9 in the third shard; the same command asks for two shards of four."""
    code = (
        "import whet.adaptation.generate.generated as one; one.AT_ONCE = 16\n"
        "from whet_launch.cli.main import main; raise SystemExit(main())"
    )
    words = ["adapt", f"data={lists}", "search=vectors", f"model={tiny_model}", "output=run"]
    words += [f"generate.url={language_model.url}", "generate.model=tiny", "generate.yes=true"]
    language_model.script = lambda asked: Reply(**{**vars(usual(asked)), "after_s": 0.05})
    environment = {**os.environ, "WHET_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, *words]
    job = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(language_model.asked) < 36 and time.monotonic() < deadline:
        time.sleep(0.01)
    job.kill()
    job.communicate()
    shards = list((tmp_path / "cache" / "generated").glob("*/*/manifest.json"))
    kept = [path for path in shards if not path.parent.name.endswith(".tmp")]
    assert len(kept) == 2
    language_model.asked.clear()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(language_model.asked) == 32
    assert json.loads((tmp_path / "run" / "adaptation.json").read_text())["generated"]["kept"] == 64
