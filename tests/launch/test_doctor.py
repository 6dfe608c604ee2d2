"""`whet doctor` finds what is wrong, says what to do, and exits with 4."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from whet_launch.doctor import health
from whet_launch.doctor.command import spelled_findings
from whet_launch.doctor.health import FAIL, OK, WARN, Finding
from whet_launch.doctor.nodes import _compared


@pytest.mark.parametrize(
    ("name", "version", "bad"),
    [
        ("lightning", "2.6.2", True),
        ("lightning", "2.6.3", True),
        ("lightning", "2.6.4", False),
        ("ray", "2.51.9", True),
        ("ray", "2.52.0", False),
        ("ray", "3.0.0.dev0", False),
        ("hydra-core", "1.3.6", True),
        ("hydra-core", "1.3.8", False),
        ("torch", "2.13.0+cpu", False),
    ],
)
def test_known_bad_releases(name: str, version: str, bad: bool) -> None:
    assert bool(health.trouble_with(name, version)) == bad


@contextmanager
def server(status: int) -> Iterator[int]:
    """Something that answers every request with a status, as a Ray dashboard does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    serving = HTTPServer(("0.0.0.0", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    try:
        yield serving.server_port
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


@pytest.mark.parametrize(
    ("host", "status", "state"),
    [
        ("0.0.0.0", 200, FAIL),  # an address others can ask too
        ("0.0.0.0", 401, OK),
        ("0.0.0.0", 403, OK),
        ("0.0.0.0", 404, OK),
        ("127.0.0.1", 200, OK),
    ],
)
def test_a_dashboard_that_asks_no_token_fails(host: str, status: int, state: str) -> None:
    with server(status) as port:
        found = health.dashboard(host, port)
    assert found.state == state
    assert ("RAY_AUTH_MODE=token" in found.remedy) == (state == FAIL)


def test_nothing_there_is_well() -> None:
    with server(200) as port:
        pass
    assert health.dashboard("127.0.0.1", port) == Finding(
        OK, f"port {port} on 127.0.0.1", "nothing answers"
    )


def test_this_machine_is_well(whet: Any, tmp_path: Any) -> None:
    code, out, _ = whet("doctor", f"output={tmp_path}/runs")
    assert code == 0, out
    for what in (
        "python",
        "torch",
        "lightning",
        "memory",
        "open files",
        "disk of runs",
        "RAY_AUTH",
    ):
        assert f"\nok    {what}" in out or f"\nwarn  {what}" in out, what
    assert "MB/s written" in out and not (tmp_path / "runs").exists()


def test_a_folder_that_takes_no_file_fails(whet: Any) -> None:
    code, out, _ = whet("doctor", "output=/proc/runs")
    assert code == 4
    assert "\nfail: disk of runs: /proc: " in out and "choose another" in out


def test_no_cluster_is_told_without_a_traceback(whet: Any) -> None:
    pytest.importorskip("ray")
    code, _, err = whet("doctor", "launch=ray", "launch.address=127.0.0.1:1")
    assert code == 4
    assert "no Ray cluster answers at 127.0.0.1:1" in err


def test_warnings_and_failures_stand_at_the_end() -> None:
    text = spelled_findings(
        {
            "one": [Finding(OK, "a", "1"), Finding(WARN, "b", "2", "Mend it.")],
            "two": [Finding(FAIL, "c", "3", "Stop it.")],
        }
    )
    assert text.splitlines()[-3:] == [
        "fail: two: c: 3. Stop it.",
        "warn: one: b: 2. Mend it.",
        "1 of 3 are well.",
    ]


def test_versions_that_differ_between_nodes_fail() -> None:
    same = {"one": ([], {"torch": "2"}), "two": ([], {"torch": "2"})}
    assert _compared(same)["the nodes compared"][0].state == OK
    other = {**same, "two": ([], {"torch": "3", "ray": "2"})}
    found = _compared(other)["the nodes compared"]
    assert [(one.state, one.what) for one in found] == [(FAIL, "ray"), (FAIL, "torch")]
    assert "none on one" in found[0].detail
    assert _compared({"one": ([], {"torch": "2"})}) == {}


@pytest.mark.slow
def test_every_node_of_a_cluster_is_asked(tmp_path: Any, monkeypatch: Any) -> None:
    """In a process of its own, which may connect to this machine's own address."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    small = {"num_cpus": 0, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        cluster.add_node(num_cpus=0, object_store_memory=100 << 20)
        words = ["doctor", "launch=ray", f"launch.address={cluster.address}", f"output={tmp_path}"]
        command = [sys.executable, "-m", "whet_launch", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        cluster.shutdown()
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert done.stdout.count("RAY_AUTH_MODE") == 2, told
    assert "the same on all 2 nodes" in done.stdout
