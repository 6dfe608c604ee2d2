"""The battery of benchmarks/gpu: which stages a call does, the line each gets however it ends, and
whether goals are judged right.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the battery; the path is as before after the test."""
    import os
    import sys

    monkeypatch.setattr(sys, "path", [str(FOLDER / "gpu"), *sys.path, str(FOLDER)])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    import battery
    import goals
    import lines
    import make_gpu as run
    import outside
    import stages

    return SimpleNamespace(
        battery=battery, goals=goals, lines=lines, outside=outside, run=run, stages=stages
    )


def line(stage: str, status: str = "ok", **figures: Any) -> dict[str, Any]:
    """A line as the records have it."""
    return {
        "stage": stage,
        "status": status,
        "figures": figures,
        "commit": "abc",
        "device": "a GPU",
        "seconds": 1.0,
        "why": "",
        "notes": [],
        "machine": {"versions": {"torch": "2"}},
        "time": "2026-01-01T00:00:00Z",
    }


def test_goals_are_judged_by_what_was_measured(gpu: SimpleNamespace) -> None:
    table = {
        "D=384, share of the roof": 0.61,  # at least 0.60
        "D=768, share of the roof": 0.74,  # at least 0.75
        "D=384, over FAISS": 1.8,  # the bound itself
    }
    memory = {"search, on the device, MiB": 256.0, "search, streamed, MiB": 256.5}
    found = {
        "mining table": line("mining table", **table),
        "memory": line("memory", **memory),
        "encode": line("encode", "failed", **{"base 128 tokens, MFU": 0.5}),
        "train": line("train", "wrong", **{"base plain, MFU": 0.9}),
    }
    verdicts = {one.goal.name: one for one in gpu.goals.judged(found)}
    words = {name: one.word for name, one in verdicts.items()}
    assert words["share of the roof, D=384"] == "met"
    assert words["share of the roof, D=768"] == "missed"
    assert words["over FAISS-GPU, D=384"] == "met"
    assert words["over FAISS-GPU, D=768"] == "not measured"
    assert words["MiB of a search, on the device"] == "met"
    assert words["MiB of a search, streamed"] == "missed"
    assert words["MFU encoding, base"] == "met"  # what it had before it failed counts
    assert words["MFU training, base"] == "not measured"  # a wrong answer has no speed
    assert verdicts["share of the roof, D=768"].value == 0.74
    assert gpu.goals.counts(list(verdicts.values())) == {
        "met": 4,
        "missed": 2,
        "not measured": len(gpu.goals.GOALS) - 6,
    }
    shown = gpu.goals.shown([verdicts["share of the roof, D=768"]])
    assert shown[0].split() == "share of the roof, D=768 at least 0.75 0.74 missed".split()


def test_nothing_is_met_before_anything_was_measured(gpu: SimpleNamespace) -> None:
    assert {one.word for one in gpu.goals.judged({})} == {"not measured"}
    nan = {"memory": line("memory", **{"search, streamed, MiB": float("nan")})}
    assert {one.word for one in gpu.goals.judged(nan)} == {"not measured"}


def test_every_goal_names_a_stage(gpu: SimpleNamespace) -> None:
    names = {stage.name for stage in gpu.stages.STAGES}
    assert {goal.stage for goal in gpu.goals.GOALS} <= names
    assert len({goal.name for goal in gpu.goals.GOALS}) == len(gpu.goals.GOALS)


def test_goals_are_those_of_the_mining_benchmark(gpu: SimpleNamespace) -> None:
    """Which judges each row by itself."""
    text = (FOLDER / "mine" / "gpu_rows.py").read_text(encoding="utf-8")
    bounds: dict[str, Any] = {}
    for name in ("SHARES", "OVER_FAISS"):
        told = next(row for row in text.splitlines() if row.startswith(f"{name} = "))
        exec(told.partition("#")[0], bounds)
    for width, least in gpu.goals.SHARES.items():
        assert bounds["SHARES"][width][0] == least
    for width, least in gpu.goals.OVER_FAISS.items():
        assert bounds["OVER_FAISS"][width][0] == least


def test_the_figures_of_the_mining_table_are_taken(gpu: SimpleNamespace, tmp_path: Path) -> None:
    head = "part,group,what,data,Q,N,D,k,filters,x_floor,against,ratio,exact,extra_mib"
    rows = [
        "gpu,search,whet,random,16384,1000000,768,64,on,1.25,faiss bf16 then filter,1.5,yes,120",
        "gpu,search,floor: cuBLAS bf16 alone,random,16384,1000000,768,64,,1,,,no answer,",
        "gpu,search,whet int8,random,16384,1000000,768,64,on,0.9,faiss bf16 then filter,2,3 ids,9",
    ]
    path = tmp_path / "mining.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    told: list[tuple[str, Any]] = []
    here = gpu.stages.Here(False, tmp_path, tmp_path)
    here.tell = lambda kind, value: told.append((kind, value))
    gpu.outside.take_table(here, path)
    figures = dict(value for kind, value in told if kind == "figure")
    assert figures["D=768, share of the roof"] == 0.8
    assert figures["D=768, over FAISS"] == 1.5
    assert figures["D=768, MiB beyond inputs"] == 120
    assert [value for kind, value in told if kind == "wrong"] == ["whet int8, random, D=768: 3 ids"]


def test_a_call_goes_on_with_what_has_no_good_line(gpu: SimpleNamespace) -> None:
    found = [
        line("ceilings"),
        line("loss is right", "failed"),
        line("fit is right", "ok"),
        line("fit is right", "failed"),
        {**line("mining is right"), "commit": "another"},
        {**line("compile"), "device": "another"},
    ]
    known = gpu.lines.newest(found, "abc", "a GPU")
    assert {name: one["status"] for name, one in known.items()} == {
        "ceilings": "ok",
        "loss is right": "failed",
        "fit is right": "ok",
    }
    chosen = gpu.stages.chosen(["machine", "right"])
    left = [stage.name for stage in gpu.run.lacking(chosen, known)]
    assert left[:2] == ["compile", "mining is right"]
    assert left[-1] == "loss is right"  # was tried: after those that were not
    assert "ceilings" not in left and "fit is right" not in left
    with pytest.raises(ValueError, match="No stage mistake"):
        gpu.stages.chosen(["mistake"])


def test_a_call_says_what_to_do_next(gpu: SimpleNamespace, tmp_path: Path) -> None:
    done = {stage.name: line(stage.name) for stage in gpu.stages.STAGES}

    def told(newest: dict[str, Any], late: list[str]) -> str:
        return "\n".join(gpu.run.what_next(newest, late, tmp_path))

    assert "All that can be done here is done." in told(done, [])
    some = {name: one for name, one in done.items() if name not in ("loss", "encode")}
    text = told(some, ["encode"])
    assert "No time was left for encode." in text and "Not asked for yet: loss." in text
    assert "All that" not in text
    failed = {**done, "loss": {**line("loss", "failed"), "why": "over its time"}}
    assert "loss: failed. over its time" in told(failed, []) and "gpu.log" in told(failed, [])


def test_lines_are_in_every_copy_and_a_cut_one_is_left_out(
    gpu: SimpleNamespace, tmp_path: Path
) -> None:
    kept = gpu.lines.Lines(tmp_path / "gpu.jsonl", tmp_path / "out")
    kept.keep(line("ceilings"))
    kept.keep(line("loss"))
    for path in (tmp_path / "gpu.jsonl", tmp_path / "out" / "gpu.jsonl"):
        assert len(path.read_text().splitlines()) == 2
    with (tmp_path / "gpu.jsonl").open("a") as file:
        file.write('{"stage": "enc')
    assert [one["stage"] for one in kept.all()] == ["ceilings", "loss"]


class Played:
    """A worker that tells what a test wants told, and is lost where the test says so."""

    facts = {"device": "a GPU", "versions": {"torch": "2"}}  # noqa: RUF012
    script: dict[str, list[Any]] = {}  # noqa: RUF012
    started = ended = 0

    def __init__(self, settings: Any) -> None:
        type(self).started += 1

    def ask(self, stage: Any, seconds: float) -> None:
        self.told = iter(self.script[stage.name])

    def heard(self, until: float) -> Any:
        found = next(self.told)
        if isinstance(found, BaseException):
            raise found
        return found

    def end(self) -> None:
        type(self).ended += 1


@pytest.fixture
def play(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a script of what a worker tells; returns the lines and the stages left for later."""

    found: list[Any] = []

    def played(script: dict[str, list[Any]], seconds: float = 1e6) -> tuple[list[Any], list[str]]:
        Played.script, Played.started, Played.ended = script, 0, 0
        monkeypatch.setattr(gpu.battery, "Worker", Played)
        settings = gpu.battery.Settings(False, seconds, tmp_path, tmp_path, "abc")
        battery = gpu.battery.Battery(settings, found.append, lambda words: None)
        battery.run([stage for stage in gpu.stages.STAGES if stage.name in script])
        return found, battery.late

    played.lines = found  # type: ignore[attr-defined]
    return played


def test_a_stage_gets_its_line_however_it_ends(gpu: SimpleNamespace, play: Any) -> None:
    figure = ("figure", ("a", 1.0))
    found, late = play(
        {
            "ceilings": [figure, ("end", ("ok", ""))],
            "compile": [("end", ("left out", "no compiler"))],
            "mining is right": [figure, ("wrong", "two ids"), ("end", ("ok", ""))],
            "loss is right": [figure, gpu.battery.Lost("over its time")],
            "fit is right": [("end", ("failed", "ValueError: x"))],
        }
    )
    assert [(one["status"], one["why"]) for one in found] == [
        ("ok", ""),
        ("left out", "no compiler"),
        ("wrong", "two ids"),
        ("failed", "over its time"),
        ("failed", "ValueError: x"),
    ]
    assert all(one["commit"] == "abc" and one["device"] == "a GPU" for one in found)
    assert found[3]["figures"] == {"a": 1.0}  # what it had found stays
    assert all(one["time"] and one["machine"] == {"versions": {"torch": "2"}} for one in found)
    assert Played.started == 2 and Played.ended == 2  # a new one after each failure
    assert late == []
    assert json.loads(json.dumps(found)) == found


def test_a_device_that_does_not_come_back_is_still_named(
    gpu: SimpleNamespace, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure the next process may not find the device: each stage has its line."""
    begin = Played.__init__

    def once(self: Any, settings: Any) -> None:
        begin(self, settings)
        if Played.started > 1:
            raise gpu.battery.Lost("the process died, with exit code 1")

    monkeypatch.setattr(Played, "__init__", once)
    lost = gpu.battery.Lost("over its time")
    found, _ = play({"ceilings": [lost], "mining is right": [], "loss": []})
    assert [(one["status"], one["device"]) for one in found] == [("failed", "a GPU")] * 3
    assert found[2]["why"] == "the process died, with exit code 1"


def test_no_stage_is_begun_that_may_not_end_in_time(play: Any) -> None:
    script = {name: [("end", ("ok", ""))] for name in ("ceilings", "mining table", "loss")}
    found, late = play(script, seconds=100.0)
    assert [one["stage"] for one in found] == ["ceilings", "loss"]
    assert late == ["mining table"]


def test_an_interrupted_stage_is_written_down(play: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        play({"ceilings": [("figure", ("a", 1.0)), KeyboardInterrupt()]})
    assert [(one["why"], one["figures"]) for one in play.lines] == [("interrupted", {"a": 1.0})]
    assert Played.ended == 1


def test_a_worker_that_dies_or_hangs_is_noticed(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With real processes, which do no more than that."""
    settings = gpu.battery.Settings(False, 1e6, tmp_path, tmp_path, "abc")
    monkeypatch.setattr("worker.work", _dies)
    worker = gpu.battery.Worker(settings)
    assert worker.facts == {"device": "none"}
    with pytest.raises(gpu.battery.Lost, match="exit code 3"):
        worker.heard(time.monotonic() + 60)
    worker.end()
    monkeypatch.setattr("worker.work", _hangs)
    worker = gpu.battery.Worker(settings)
    with pytest.raises(gpu.battery.Lost, match="over its time"):
        worker.heard(time.monotonic() + 0.2)
    worker.end()
    assert not worker.process.is_alive()


def _dies(line: Any, *_: Any) -> None:
    import os

    line.send(("facts", {"device": "none"}))
    os._exit(3)


def _hangs(line: Any, *_: Any) -> None:
    import os

    os.setsid()
    line.send(("facts", {"device": "none"}))
    time.sleep(600)


def test_compiled_kernels_are_found_where_they_are_unpacked(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Triton's cache lists files by their whole paths."""
    import machine

    here, there = tmp_path / "here", tmp_path / "there"
    (here / "KERNEL").mkdir(parents=True)
    names = ("k.json", "k.cubin", "k.ptx")
    for name in names:
        (here / "KERNEL" / name).write_text("{}")
    paths = {name: str(here / "KERNEL" / name) for name in names}
    (here / "KERNEL" / "__grp__k.json").write_text(json.dumps({"child_paths": paths}))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(here))
    machine.pack_compiled(tmp_path)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(there))
    assert machine.unpack_compiled(tmp_path / "triton.tgz")
    listed = json.loads((there / "KERNEL" / "__grp__k.json").read_text())["child_paths"]
    assert listed == {name: str(there / "KERNEL" / name) for name in ("k.json", "k.cubin")}


def test_the_page_says_what_was_measured_and_what_was_not(
    gpu: SimpleNamespace, tmp_path: Path
) -> None:
    import xml.etree.ElementTree as xml

    from gpu_page import page

    assert "Nothing has been measured yet" in page([])
    figures = {"base 128 tokens, MFU": 0.3, "base 128 tokens, <forward>, MFU": 0.5}
    found = [line("encode", **figures), {**line("loss", "failed"), "why": "a <b>"}]
    text = page(found, [tmp_path / "mining.csv"])
    assert "a GPU, abc" in text and "1 missed" in text and "15 not measured" in text
    assert "a &lt;b&gt;" in text and "<b>" not in text and "<forward>" not in text
    drawings = [part.partition("</svg>")[0] for part in text.split("<svg")[1:]]
    assert len(drawings) == 2  # the goals, and utilisation
    for drawing in drawings:
        xml.fromstring(f"<svg{drawing}</svg>")
    head = "part,device,group,what,data,Q,N,D,k,filters,against,x_floor,x_floor_cpu,exact"
    row = "gpu,a GPU,search,whet,random,10,1000,768,64,on,,1.3,,yes"
    (tmp_path / "mining.csv").write_text(f"{head}\n{row}\n")
    assert page(found, [tmp_path / "mining.csv"]).count("<svg") == 3


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_the_whole_battery_is_rehearsed() -> None:
    """Whole fits in Triton's interpreter take minutes."""
    script = Path(__file__).parents[2] / "benchmarks/gpu/make_gpu.py"
    done = subprocess.run(
        [sys.executable, "-B", str(script), "--rehearse"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
