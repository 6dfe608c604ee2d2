"""`launch=job`: a fit sent to a real head that asks for a token, and the verbs around it."""

from __future__ import annotations

import http.server
import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import Cluster, ray_ip, started, wait_for_step, wait_until, whet

from whet.errors import EnvironmentRefused
from whet_launch.cli.main import main
from whet_launch.remote import head
from whet_launch.remote.head import asks_for_token, is_loopback

CANARY = "hf_canary0123456789"


@pytest.fixture
def project(tiny_data: Path, tmp_path: Path) -> Path:
    """A working folder with the data in it, and secrets beside."""
    shutil.copytree(tiny_data, tmp_path / "project" / "data")
    (tmp_path / "project" / ".env").write_text(f"HF_TOKEN={CANARY}\n")
    return tmp_path / "project"


@pytest.fixture
def fit(tiny_model: Path, tmp_path: Path) -> list[str]:
    words = ["data=data", f"model={tiny_model}", "trainer.batch_size=16", "trainer.max_epochs=99"]
    words += ["trainer.checkpoint_every_steps=5", "launch=job", "launch.num_workers=2"]
    return ["fit", *words, f"output={tmp_path}/run"]


def env(cluster: Cluster) -> dict[str, str]:
    """What a laptop has: the address and the token, and a secret that is nobody's business."""
    token = {"RAY_AUTH_TOKEN_PATH": str(cluster.token), "HF_TOKEN": CANARY}
    return {"RAY_API_SERVER_ADDRESS": cluster.url} | token


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_job_is_sent_followed_and_found_again(
    cluster: Cluster, project: Path, fit: list[str], tmp_path: Path
) -> None:
    words = [*fit, "trainer.max_steps=30", "launch.name=first"]
    one = started(*words, cwd=project, **env(cluster))
    wait_until(lambda: "first" in whet("jobs", **env(cluster)).stdout)
    two = started(*words, cwd=project, **env(cluster))
    said = [process.communicate(timeout=900)[1] for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), "\n".join(said)
    assert "Job first was sent to" in said[0] and "Job first runs already" in said[1]
    for text in said:
        assert f"Model:  {tmp_path}/run/model" in text
    assert (tmp_path / "run" / "model").is_dir()
    listed = whet("jobs", **env(cluster)).stdout
    assert listed.startswith("first ") and f"SUCCEEDED  {time.strftime('%Y')}" in listed
    again = whet(*words, cwd=project, **env(cluster))
    assert again.returncode == 2 and "job first is done" in again.stderr
    logged = whet("logs", "first", **env(cluster))
    assert logged.returncode == 0 and "Model: " in logged.stderr
    logs = [path for path in cluster.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in logs if CANARY.encode() in path.read_bytes()] == []


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_stopped_job_goes_on_under_another_name(
    cluster: Cluster, project: Path, fit: list[str], tmp_path: Path
) -> None:
    words = [*fit, "trainer.max_steps=80"]
    process = started(*words, "launch.name=long", cwd=project, **env(cluster))
    wait_for_step(tmp_path / "run", 10, process)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 130, err
    assert "Stopping job long" in err
    again = whet(*words, "launch.name=long", cwd=project, **env(cluster))
    assert again.returncode == 2 and "launch.name=long-2 and the same output" in again.stderr
    more = whet(*words, "launch.name=long-2", cwd=project, **env(cluster))
    assert more.returncode == 0, more.stderr
    assert "Going on at step" in more.stderr
    stopped = whet("stop", "long-2", **env(cluster))
    assert stopped.returncode == 0 and "had ended: succeeded" in stopped.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_failed_job_answers_with_its_code(
    cluster: Cluster, project: Path, fit: list[str]
) -> None:
    done = whet(*fit, "data=nowhere/at/all", "launch.name=bad", cwd=project, **env(cluster))
    assert done.returncode == 3, done.stderr
    assert "whet: " in done.stderr and "nowhere/at/all" in done.stderr
    unknown = whet("logs", "nobody", **env(cluster))
    assert unknown.returncode == 2 and "knows no job 'nobody'" in unknown.stderr


@pytest.mark.slow
def test_a_head_refuses_a_wrong_token(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    wrong = env(cluster) | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    done = whet("jobs", **wrong)
    assert done.returncode == 4
    assert "refuses the token that this machine has" in done.stderr
    assert done.stderr.count("\n") == 1


class _Open(http.server.BaseHTTPRequestHandler):
    """A head that lets anybody in."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def open_head() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), _Open) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_remote_head_that_lets_anybody_in_is_refused(open_head: int, tmp_path: Path) -> None:
    ip = ray_ip()
    if ip.startswith("127."):
        pytest.skip("this machine has no other address")
    words = [f"launch.address=http://{ip}:{open_head}", "launch=job", f"output={tmp_path}/run"]
    for command in (["fit", "data=x", *words], ["jobs", f"address=http://{ip}:{open_head}"]):
        done = whet(*command)
        assert done.returncode == 4, done.stderr
        assert "answers without a token, so whoever reaches it can run commands" in done.stderr
    assert not asks_for_token(f"http://127.0.0.1:{open_head}")


def test_where_no_head_is() -> None:
    with pytest.raises(EnvironmentRefused, match="no Ray head answers at"):
        asks_for_token("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://127.9.9.9:8265", True),
        ("http://[::1]:8265", True),
        ("http://localhost:8265", True),
        ("http://localhost.evil.example:8265", False),
        ("http://10.0.0.1:8265", False),
        ("http://0.0.0.0:8265", False),
        ("http://127.0.0.1@evil.example:8265", False),
    ],
)
def test_loopback(url: str, here: bool) -> None:
    assert is_loopback(url) is here


JOB = {"type": "SUBMISSION", "submission_id": "a\x1b[2Jb", "job_id": None, "status": "RUNNING"}
JOB |= {"entrypoint": "x", "start_time": 10**17, "metadata": {"output": "/runs\n"}}
NONSENSE = {
    "text": b"hello",
    "control characters": b"\x1b[2J",
    "an object": b'{"jobs": 1}',
    "too deep": b"[" * 100_000,
    "numbers": b"[1, 2]",
    "another type": json.dumps([JOB | {"status": "?"}]).encode(),
    "no version": b"[]",
    "not HTTP": b"",
    "too much": b"[" + b" " * head.MOST_BYTES + b"]",
}


class _Nonsense(http.server.BaseHTTPRequestHandler):
    """A head that answers what its server was told to."""

    def do_GET(self) -> None:
        kind, body = self.server.kind, self.server.body  # type: ignore[attr-defined]
        if kind == "not HTTP":
            self.wfile.write(b"\x00\x1b[2J garbage\n")
            return
        if self.path.startswith("/api/version"):
            version = {
                "version": "1",
                "ray_version": "2.40.0",
                "ray_commit": "",
                "session_name": "",
            }
            body = b"[1" if kind == "no version" else json.dumps(version).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def answering(kind: str, body: bytes) -> int:
    """The port of a head that gives this answer."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Nonsense)
    server.kind, server.body = kind, body  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_head_that_answers_nonsense_is_one_line(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = answering(kind, NONSENSE[kind])
    assert main(["jobs", f"address=http://127.0.0.1:{port}"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("whet: ") and f"http://127.0.0.1:{port}" in line
    assert line.isprintable() and len(line) < 500


def test_names_and_times_of_a_head_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    port = answering("jobs", json.dumps([JOB]).encode())
    assert main(["jobs", f"address=http://127.0.0.1:{port}"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split() == [r"a\x1b[2Jb", "RUNNING", "????-??-??", "??:??", r"/runs\n"]
