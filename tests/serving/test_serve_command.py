"""`whet serve` as a process: its clients, another version under load, and its end."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AuthenticationError, BadRequestError, OpenAI
from serving_parts import other_model, other_query_side

import whet
from whet.config import DataHereConfig, ServeConfig
from whet.errors import ConfigError, WhetError
from whet.model.towers import open_model
from whet.serving.command import serve_command
from whet.serving.served import version_of

RUN = "import sys; from whet_launch.cli.main import main; sys.exit(main(sys.argv[1:]))"
KEY = "a key that is long enough"


def environment(cache: Path) -> dict[str, str]:
    path = os.pathsep.join(sys.path)
    return {**os.environ, "PYTHONPATH": path, "WHET_CACHE": str(cache), "WHET_API_KEY": KEY}


def whet_command(cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *words],
        env=environment(cache),
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def serving(cache: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and its address once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "serve", *words, "port=0"],
        env=environment(cache),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        told = ""
        for line in process.stderr:
            told += line
            if line.startswith("Routes:"):
                break
        address = re.search(r"http://\S+:\d+", told)
        assert address is not None, told
        yield process, address[0]
    finally:
        process.kill()
        process.communicate()


def client_of(url: str, key: str = KEY) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


@pytest.mark.slow
def test_openais_client_gets_vectors_and_the_version_changes_by_a_command(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    query_side = other_query_side(tiny_model, tmp_path / "query_side")
    with serving(tmp_path, str(tiny_model), f"data={tiny_data}") as (process, url):
        port = url.rpartition(":")[2]
        client = client_of(url)
        made = client.embeddings.create(model="whet", input=["bace difo", "guka"])
        vector_ND = np.array([row.embedding for row in made.data], np.float32)
        assert (
            np.abs(
                vector_ND - whet.Encoder.load(str(tiny_model)).encode(["bace difo", "guka"])
            ).max()
            < 1e-6
        )
        cut = client.embeddings.create(model="whet", input="guka", dimensions=4)
        assert len(cut.data[0].embedding) == 4
        with pytest.raises(AuthenticationError):
            client_of(url, "another key than that").embeddings.create(model="whet", input="a")
        with pytest.raises(BadRequestError, match="there is no 'gpt' here"):
            client.embeddings.create(model="gpt", input="a")
        (state,) = (tmp_path / "serving").iterdir()
        assert stat.S_IMODE(state.stat().st_mode) == 0o600 and KEY not in state.read_text()
        used = whet_command(tmp_path, "serve", f"use={query_side}", f"port={port}")
        assert used.returncode == 0, used.stderr
        version = version_of(open_model(str(query_side)))
        assert f"{query_side} answers now, as version {version}." in used.stdout
        assert [model.id for model in client.models.list()][1] == version
        back = whet_command(tmp_path, "serve", "back=true", f"port={port}")
        assert back.returncode == 0 and "answers now" in back.stdout
        refused = whet_command(tmp_path, "serve", f"use={tmp_path}", f"port={port}")
        assert refused.returncode != 0 and len(refused.stderr.strip().splitlines()) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not state.exists()
    gone = whet_command(tmp_path, "serve", "back=true", f"port={port}")
    assert gone.returncode == 2 and "No `whet serve` of yours is at port" in gone.stderr


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "Say what to serve: whet serve runs/RUN"),
        ({"run": "nowhere/at/all"}, "nowhere/at/all"),
        ({"run": "minilm", "use": "minilm"}, "give one of them alone"),
        ({"use": "minilm", "back": True}, "give one of them alone"),
        ({"run": "minilm", "reranker": "minilm"}, "is no cross-encoder"),
        ({"run": "minilm", "data": DataHereConfig(path="nowhere")}, "nowhere"),
        ({"run": "minilm", "words": "many"}, "words=many"),
        ({"run": "minilm", "host": " "}, "host is empty"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], why: str
) -> None:
    monkeypatch.setenv("WHET_CACHE", str(tmp_path))
    with pytest.raises(WhetError) as refusal:
        serve_command(ServeConfig(**options))
    assert why in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_short_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHET_API_KEY", "short")
    with pytest.raises(ConfigError, match="WHET_API_KEY is no good key"):
        serve_command(ServeConfig(run="minilm"))


SWAPS, CLIENTS = 6, 4


@pytest.mark.slow
def test_no_answer_is_lost_or_of_two_versions_while_the_version_changes(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    models = [
        tiny_model,
        other_query_side(tiny_model, tmp_path / "query_side"),
        other_model(tiny_model, tmp_path / "both"),
    ]
    expected = {_version(model): _best(model, tiny_data) for model in models}
    answers: list[dict[str, Any]] = []
    failures: list[str] = []
    enough = threading.Event()

    with serving(tmp_path, str(tiny_model), f"data={tiny_data}") as (_, url):

        def ask() -> None:
            client = client_of(url)
            while not enough.is_set():
                try:
                    answers.append(
                        client.post("/../search", cast_to=dict, body={"query": QUERY, "k": 5})
                    )
                except Exception as error:  # every one is a failure, whatever its type
                    failures.append(repr(error))

        threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        port = url.rpartition(":")[2]
        for swap in range(SWAPS):
            used = whet_command(tmp_path, "serve", f"use={models[(swap + 1) % 3]}", f"port={port}")
            assert used.returncode == 0, used.stderr
        enough.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert len(answers) > 20 and {answer["version"] for answer in answers} == set(expected)
    for answer in answers:
        best = expected[answer["version"]]
        assert [hit["id"] for hit in answer["hits"]] == [id_ for id_, _ in best]
        scores = [score for _, score in best]
        assert [hit["score"] for hit in answer["hits"]] == pytest.approx(scores, abs=1e-5)


QUERY = "bace difo"


def _version(model: Path) -> str:
    return version_of(open_model(str(model)))


def _best(model: Path, data: Path) -> list[tuple[str, float]]:
    """The five best documents, by all products."""
    opened, corpus = open_model(str(model)), whet.load_dataset(str(data)).corpus
    documents = corpus.texts(np.arange(len(corpus)))
    score_N = opened.encode(documents) @ opened.encode([QUERY], kind="query")[0]
    best = np.argsort(-score_N, kind="stable")[:5]
    return list(zip(corpus.ids_of(best), score_N[best].tolist(), strict=True))
