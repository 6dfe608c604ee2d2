"""Killed at random moments, verbs are finished by the same command."""

from __future__ import annotations

import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from whet.storage.commit import file_sha256, verify_folder

KILLS = 1
VERBS = {
    "mine": ["mining.num_negatives=2", "formats=[flagembedding,trec]"],
    "encode": [],
    "eval": ["baseline=bm25"],
    "export": ["formats=[onnx]"],
}
# what names a folder or holds seconds
OF_THE_RUN = {"config.yaml", "environment.json", "report.html", "manifest.json"}
OF_THE_RUN |= {"mining_report.json", "mining_report.txt", "export.json", "README.md"}
OF_THE_RUN |= {"adaptation.json"}


def started(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "whet_launch", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job ignores Ctrl-C, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finished(words: list[str]) -> float:
    """The seconds that a command takes which nobody disturbs."""
    start = time.monotonic()
    process = started(words)
    err = process.communicate()[1]
    assert process.returncode == 0, err
    return time.monotonic() - start


def content(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): "" if path.name in OF_THE_RUN else file_sha256(path)
        for path in files
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(verb, marks=[pytest.mark.nightly] if verb in ("eval", "export") else [])
        for verb in VERBS
    ],
)
def test_the_same_command_after_kill_9(
    verb: str, tiny_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [verb, f"data={tiny_data}", f"model={tiny_model}", *VERBS[verb]]
    monkeypatch.setenv("WHET_CACHE", str(tmp_path / "cache"))
    took = finished([*words, f"output={tmp_path}/whole"])
    wanted = content(tmp_path / "whole")
    moments = random.Random(f"{verb} 14")
    for number in range(KILLS):
        monkeypatch.setenv("WHET_CACHE", str(tmp_path / f"cache{number}"))
        output = tmp_path / str(number)
        victim = started([*words, f"output={output}"])
        time.sleep(moments.uniform(0.3, 1.0) * took)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        finished([*words, f"output={output}"])
        assert content(output) == wanted
        verify_folder(output)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_adaptation_killed_ten_times(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cache and one folder: each command finds what the killed ones left."""
    log = tmp_path / "log.txt"
    log.write_text("".join(f"what is word{number}\n" for number in range(300)))
    words = [
        "adapt",
        f"data={tiny_data}",
        f"model={tiny_model}",
        "search=vectors",
        f"queries={log}",
    ]
    monkeypatch.setenv("WHET_CACHE", str(tmp_path / "cache of the whole"))
    took = finished([*words, f"output={tmp_path}/whole"])
    monkeypatch.setenv("WHET_CACHE", str(tmp_path / "cache"))
    words.append(f"output={tmp_path}/killed")
    moments = random.Random("adapt 19")
    for _ in range(10):
        victim = started(words)
        time.sleep(moments.uniform(0.2, 0.95) * took)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
    finished(words)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    verify_folder(tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_of_adapt_leaves_one_line_and_the_command_to_go_on(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHET_CACHE", str(tmp_path / "cache"))
    words = ["adapt", f"data={tiny_data}", f"model={tiny_model}", f"output={tmp_path}/run"]
    victim = started(words)
    assert victim.stderr is not None
    for line in victim.stderr:  # work has begun: documents are encoded, or their words counted
        if "documents" in line and "/s" in line:
            break
    victim.send_signal(signal.SIGINT)
    err = victim.stderr.read()
    assert victim.wait() == 130, err
    assert err.splitlines()[-1] == f"whet: interrupted. Go on with: {shlex.join(['whet', *words])}"
    assert "Traceback" not in err and not (tmp_path / "run" / "adaptation.json").exists()
    finished(words)
    verify_folder(tmp_path / "run")
