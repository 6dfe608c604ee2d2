"""Real Ray nodes on this machine, as separate `ray start` commands, and `whet` as users call it."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")
CLEAN = {  # what a developer's shell may hold
    name: value
    for name, value in os.environ.items()
    if not name.startswith("RAY_") and not name.startswith("WHET_DEBUG")
}
PATIENCE_S = 500  # a busy machine of two cores


def whet(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    process = started(*words, cwd=cwd, **env)
    out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(*words: str, cwd: Path | None = None, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "whet_launch", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=CLEAN | {"WHET_CACHE": os.environ["WHET_CACHE"]} | env,
    )


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    def there() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return any(int(path.name[5:]) >= step for path in run.glob("checkpoints/step_????????"))

    wait_until(there)


def wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def processes_of(run: Path) -> list[int]:
    """The job's processes, by their leader's run folder in the task they were started with."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            if (
                b"whet_launch.machine.process" in words
                and str(run).encode() in Path(os.fsdecode(words[3])).read_bytes()
            ):
                found.append(int(path.parent.name))
        except (OSError, IndexError):
            continue
    return sorted(found)


def descendants(root: int) -> list[int]:
    """The processes that a process started, and those they started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(words[1])
    found, fresh = [], [root]
    while fresh:
        fresh = [pid for pid, parent in parents.items() if parent in fresh]
        found += fresh
    return found


def last_loss(run: Path) -> float:
    loss: float = json.loads((run / "train_log.jsonl").read_text().splitlines()[-1])["loss"]
    return loss


class Cluster:
    """A head with a dashboard, asking for a token, and nodes that join it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wr", dir="/tmp"))  # socket paths are short
        self.token = self.folder / "token"
        self.token.write_text(secrets.token_hex(32))
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.port, self.page = free_port(), free_port()
        self.ip = ray_ip()
        self.url = f"http://127.0.0.1:{self.page}"
        self.add(
            "--head",
            f"--port={self.port}",
            f"--dashboard-port={self.page}",
            "--dashboard-host=0.0.0.0",
            f"--temp-dir={self.folder}/t",
        )
        wait_until(self._answers)

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}

    def join(self, *before: str) -> subprocess.Popen[bytes]:
        """A node with one CPU, which `before` may wrap into another command."""
        count = self._count()
        # nodes of one machine would share a folder in which each unpacks, and clears, a job's files
        own = f"--temp-dir={self.folder}/{len(self.nodes)}"
        node = self.add(f"--address={self.address}", own, before=before)
        wait_until(lambda: self._count() > count)
        return node

    def add(self, *options: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        command = [*before, str(RAY), "start", "--block", "--num-cpus=1", *options]
        command += ["--object-store-memory=100000000", "--disable-usage-stats"]
        command += ["--min-worker-port=0", "--max-worker-port=0"]
        command += ["--dashboard-agent-listen-port=0", "--metrics-export-port=0"]
        node = subprocess.Popen(
            command,
            env=CLEAN | self.env | self._node_env(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.nodes.append(node)
        return node

    def remove(self, node: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        """End a node; SIGKILL ends all of its processes at once, as a power cut would."""
        if node in self.nodes:
            self.nodes.remove(node)
        for pid in [node.pid] if number != signal.SIGKILL else [node.pid, *descendants(node.pid)]:
            os.kill(pid, number)
        node.wait(timeout=60)

    def shutdown(self) -> None:
        for node in reversed(self.nodes.copy()):
            self.remove(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _node_env(self) -> dict[str, str]:
        path = f"{RAY.parent}{os.pathsep}{os.environ['PATH']}"  # the job's python is this one
        cache = {"WHET_CACHE": os.environ["WHET_CACHE"]}
        return cache | {"PATH": path, "RAY_worker_niceness": "0"}  # it is 15 else: starved

    def _answers(self) -> bool:
        request = urllib.request.Request(
            f"{self.url}/api/jobs/", headers={"Authorization": f"Bearer {self.token.read_text()}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                status: int = answer.status
                return status == 200
        except OSError:
            time.sleep(0.5)
            return False

    def _count(self) -> int:
        """Nodes that are alive, as Ray counts them."""
        code = f"import ray; ray.init({self.address!r}, log_to_driver=False); "
        code += "print('alive', sum(node['Alive'] for node in ray.nodes()))"
        done = subprocess.run(
            [sys.executable, "-c", code], env=CLEAN | self.env, capture_output=True, text=True
        )
        found = re.search(r"alive (\d+)", done.stdout)
        return int(found[1]) if found else 0


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def ray_ip() -> str:
    code = "import ray; print(ray.util.get_node_ip_address())"
    return subprocess.run(
        [sys.executable, "-c", code], env=CLEAN, capture_output=True, text=True, check=True
    ).stdout.strip()
