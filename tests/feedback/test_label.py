"""`whet label`: its folder, its refusals, and the command itself from start to Ctrl-C."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from labelling import (
    Visitor,
    address_of,
    event,
    judged_folder,
    labelling_process,
    next_address,
    open_folder,
)

from whet.config import DataConfig, LabelConfig, ModelConfig, TuneConfig
from whet.data.load import load_dataset
from whet.errors import CheckpointError, ConfigError, DataError, EnvironmentRefused
from whet.feedback.events.store import EventStore
from whet.feedback.learn.job import Tuner
from whet.feedback.serve.browser import redirect_file, send_on
from whet.feedback.serve.label import _last_line, feedback_folder, label_command
from whet.storage.lock import in_use


def config_of(data: Path, model: Path, output: Path | None) -> LabelConfig:
    return LabelConfig(
        data=DataConfig(path=str(data)),
        model=ModelConfig(name=str(model)),
        output=None if output is None else str(output),
        port=0,
        open_browser=False,
    )


def test_the_folder_says_what_it_is_feedback_for(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_data.parent)
    data = load_dataset("data")
    config = config_of(Path("data"), Path(os.path.relpath(tiny_model)), tmp_path / "feedback")
    home = feedback_folder(config, data)
    saved = yaml.safe_load((home / "config.yaml").read_text(encoding="utf-8"))
    assert saved["data"]["path"] == str(tiny_data)  # from any folder it can be opened again
    assert saved["model"]["name"] == str(tiny_model)
    monkeypatch.chdir(tmp_path)
    assert feedback_folder(config_of(tiny_data, tiny_model, home), data) == home
    assert feedback_folder(config_of(tiny_data, tiny_model, None), data) == Path(
        "runs/feedback_data"
    )


def test_feedback_of_other_data_or_models_is_not_mixed(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    data, home = load_dataset(str(tiny_data)), tmp_path / "feedback"
    feedback_folder(config_of(tiny_data, tiny_model, home), data)
    with pytest.raises(ConfigError, match=r"holds feedback for model\.name="):
        feedback_folder(config_of(tiny_data, Path("minilm"), home), data)
    with pytest.raises(ConfigError, match=r"holds feedback for data\.path="):
        feedback_folder(config_of(tmp_path, tiny_model, home), data)
    with pytest.raises(ConfigError, match="holds something that is no feedback"):
        feedback_folder(config_of(tiny_data, tiny_model, tiny_data), data)


def test_a_missing_package_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as if it were not installed
    with pytest.raises(
        EnvironmentRefused, match=r'uvicorn\. Run `pip install "whet-search\[label\]"`'
    ):
        label_command(LabelConfig(data=DataConfig(path="nowhere")))


def test_what_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"port=70000 is out of range\. It takes 0 to 65535"):
        label_command(LabelConfig(data=DataConfig(path="nowhere"), port=70_000))
    with pytest.raises(DataError):
        label_command(LabelConfig(data=DataConfig(path=str(tmp_path / "nothing"))))


@pytest.mark.slow
def test_the_command_serves_until_ctrl_c(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    home = tmp_path / "feedback"
    words = [f"data={tiny_data}", f"model.name={tiny_model}", f"output={home}", "port=0"]
    with labelling_process(*words) as first, labelling_process(*words) as second:
        url, other = address_of(first), address_of(second)  # both on one folder
        assert url.startswith("http://127.0.0.1:") and url != other
        host, _, query = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(host, timeout=20)
        connection.request("GET", f"/{query}")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["location"]) == (303, "/")
        following = next_address(first)  # told once that one was used
        assert following.startswith(f"http://{host}/?token=") and following != url
        assert Visitor(following).get("/api/counts")["events"] == 0
        assert next_address(first) not in (url, following)
        taken = config_of(tiny_data, tiny_model, home)
        taken.port = int(host.partition(":")[2])
        with pytest.raises(ConfigError, match=f"port={taken.port} is taken"):
            label_command(taken)
        for process in (first, second):
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            last = process.stderr.read()
            assert process.wait(20) == 0
            assert last == f"Stopped. 0 events are in {home / 'events.sqlite'}.\n"
    store = EventStore(home / "events.sqlite")
    assert store.events() == []
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.nightly),
        pytest.param(signal.SIGHUP, marks=pytest.mark.nightly),
    ],
)
def test_every_signal_ends_the_tune_and_says_so(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    home = judged_folder(tiny_data, tiny_model, tmp_path / "feedback")
    words = [f"data={tiny_data}", f"model.name={tiny_model}", f"output={home}", "port=0"]
    with labelling_process(*words) as process:
        url = address_of(process)
        page = Visitor(url)
        events = page.get("/api/counts")["events"]
        assert page.post("/api/tune/start")["running"]
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port)) as half:
            half.sendall(f"POST /api/enter HTTP/1.1\r\nHost: {address.netloc}\r\n".encode())
            half.sendall(f"Origin: http://{address.netloc}\r\nContent-Length: 9\r\n".encode())
            half.sendall(b"Content-Type: application/json\r\n\r\n{")
            time.sleep(0.5)
            process.send_signal(number)
            assert process.stderr is not None
            said = process.stderr.read()
        assert process.wait(20) == 0
    last = said.splitlines()[-1]
    assert last == f"Stopped. {events} events are in {home / 'events.sqlite'}."
    assert "Traceback" not in said
    assert not in_use(home / "tune")
    assert Tuner(home, TuneConfig()).state()["message"] == "Stopped."


def test_an_end_says_nothing_of_a_store_that_is_gone(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    session, _ = open_folder(tiny_data, tiny_model, tmp_path / "feedback")
    session.add([event("relevant", doc_id="d1")])
    store = session._store
    assert _last_line(session, store) == f"Stopped. 1 events are in {store.path}."
    store.path.unlink()
    last = _last_line(session, store)
    assert "1 events are in" not in last and "moved, replaced or deleted" in last
    session.close()
    assert "not known" in _last_line(session, store)


@pytest.mark.parametrize(
    "content", ["", "[]", "data: 5", "data: {path: 5}\nmodel: {name: x}", "a: [", "!!python/none"]
)
def test_a_damaged_configuration_is_told_in_a_line(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, content: str
) -> None:
    home = tmp_path / "feedback"
    home.mkdir()
    (home / "config.yaml").write_text(content)
    config = config_of(tiny_data, tiny_model, home)
    with pytest.raises(CheckpointError, match=r"config.yaml is damaged.*output=ANOTHER_FOLDER"):
        feedback_folder(config, load_dataset(str(tiny_data)))


def test_a_folder_is_its_owners_alone(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(tiny_data, tiny_model, tmp_path / "a" / "feedback")
    home = feedback_folder(config, load_dataset(str(tiny_data)))
    assert home.stat().st_mode & 0o077 == 0


def test_a_browser_is_sent_on_by_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    path = redirect_file(tmp_path, 8765)
    path.symlink_to(tmp_path / "elsewhere")  # left by somebody: it is not followed
    send_on(path, "http://127.0.0.1:8765/?token=secret&x=%3C")
    until = time.monotonic() + 5
    while not opened and time.monotonic() < until:
        time.sleep(0.01)
    assert opened == [path.as_uri()] and "secret" not in opened[0]
    assert path.stat().st_mode & 0o777 == 0o600 and not path.is_symlink()
    assert "url=http://127.0.0.1:8765/?token=secret&amp;x=%3C" in path.read_text()
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def text_folder(tiny_data: Path, tmp_path: Path) -> Path:
    """Plain text files: no queries, nothing judged."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for line in (tiny_data / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        (folder / f"{row['_id']}.txt").write_text(row["text"] + "\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_folder_of_text_files_is_searched_judged_and_tuned_on(
    text_folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    home = tmp_path / "feedback"
    words = [f"data={text_folder}", f"model.name={tiny_model}", f"output={home}", "port=0"]
    with labelling_process(*words) as process:
        page = Visitor(address_of(process))
        state = page.get("/api/state")
        assert (state["documents"], state["queries"]) == (120, 0)
        assert page.post("/api/next")["query"] is None
        for number in range(6):
            wanted = f"d{number}.txt"
            text = page.post("/api/document", doc_id=wanted)["text"]
            query = " ".join(text.split()[:4])
            found = page.post("/api/search", query=query)["results"]
            assert page.post("/api/why", query=query, doc_ids=[found[0]["doc_id"]])
            shown = [[one["doc_id"], one["score"]] for one in found]
            page.post("/api/events", events=[event("relevant", query, doc_id=wanted, shown=shown)])
        assert page.get("/api/counts")["answered"] == 6
        done = page.tune()
        assert (done["version"], done["error"]) == (1, None)
        version = page.post("/api/versions/look", version=1)
        assert version["guard"]["queries"] == 120  # nothing is judged: its own documents
        assert version["held_out"]["queries"] == 6 and len(version["lists"]) == 6
        assert page.post("/api/versions/ship", version=1) == {"current": 1}
        assert page.post("/api/search", query=query)["model"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
