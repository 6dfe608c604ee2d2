"""Whatever dies in a Ray cluster, the job goes on, by itself or by the same command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from whet_faults import TALLY, mounted

sys.path.append(str(Path(__file__).parents[1] / "launch"))
from clusters import Cluster, processes_of, started, wait_for_step, wait_until, whet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS, EVERY, STRUCK_AT = 30, 5, 10
HANG_S = 8
NETWORK = "10.203.7"


class Nodes(Cluster):
    """Nodes that are missed within seconds, and that meet where `link` says."""

    def _node_env(self) -> dict[str, str]:
        noticed = {"period_ms": 500, "timeout_ms": 1500, "failure_threshold": 4}
        settings = {f"RAY_health_check_{name}": str(value) for name, value in noticed.items()}
        return super()._node_env() | settings | {"GLOO_SOCKET_IFNAME": device_of(self.ip)}


def device_of(ip: str) -> str:
    """The network interface that has an address."""
    listed = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True).stdout
    found = re.search(rf"^\d+: (\S+)\s+inet {re.escape(ip)}/", listed, re.MULTILINE)
    return found[1] if found else "lo"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head and a node, one CPU each."""
    both = Nodes()
    try:
        both.join()
        yield both
    finally:
        both.shutdown()


@pytest.fixture
def beside(nodes: Nodes) -> Iterator[Cluster]:
    """A second Ray on this machine, of somebody else."""
    other = Cluster()
    try:
        yield other
    finally:
        other.shutdown()


@pytest.fixture(scope="module")
def fit(tiny_data: Path, tiny_model: Path) -> list[str]:
    return [
        "fit",
        "select=last",
        f"data={tiny_data}",
        f"model={tiny_model}",
        "model.dropout=0",  # which each process draws for itself: three would not be as two
        "trainer.batch_size=16",
        "trainer.max_epochs=50",
        f"trainer.max_steps={STEPS}",
        "trainer.learning_rate=1e-3",
        f"trainer.checkpoint_every_steps={EVERY}",
        "trainer.log_every_n_steps=1",
        "mining.backend=blas",
        "refresh=steps",
        "refresh.every_n_steps=12",
        "launch.num_workers=2",
        f"launch.hang_timeout_s={HANG_S}",
    ]


@pytest.fixture(scope="module")
def alone(fit: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes of this machine that nothing disturbs."""
    run = tmp_path_factory.mktemp("alone") / "run"
    done = whet(*fit, f"output={run}")
    assert done.returncode == 0, done.stderr
    return run


def losses(run: Path) -> list[float]:
    """Of each step; every step must be there once."""
    rows = [json.loads(line) for line in (run / "train_log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    return [row["loss"] for row in rows]


@pytest.fixture
def struck(fit: list[str], alone: Path, nodes: Nodes, tmp_path: Path) -> Callable[..., str]:
    """Run the job, do something to it in the midst, see that it ends as it would have."""

    def run_and(strike: Callable[[Path], None], *words: str, code: int = 0, rel: float = 0) -> str:
        run = tmp_path / "disk" / "run"
        call = [*fit, "launch=ray", f"launch.address={nodes.address}", f"output={run}", *words]
        process = started(*call, **nodes.env)
        wait_for_step(run, STRUCK_AT, process)
        strike(run)
        start = time.monotonic()
        err = process.communicate(timeout=600)[1]
        assert process.returncode == code, err
        if code:
            again = whet("fit", f"resume={run}", "launch=local", "launch.num_workers=2")
            assert again.returncode == 0, again.stderr
        TALLY.recoveries.append(time.monotonic() - start)
        assert losses(run) == pytest.approx(losses(alone), rel=rel, abs=0)
        assert (run / "model" / "model.safetensors").exists()
        return err

    return run_and


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def of_cluster(nodes: Nodes, name: str) -> list[int]:
    """Processes of this cluster whose command line holds a name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, env = ((folder / part).read_bytes() for part in ("cmdline", "environ"))
        except OSError:
            continue
        if name.encode() in command and str(nodes.folder).encode() in command + env:
            found.append(int(folder.name))
    return sorted(found)


def test_killed_ray_worker(struck):
    """Ray's worker on the second node, whose child is the job's process."""
    err = struck(lambda run: os.kill(parent(processes_of(run)[-1]), signal.SIGKILL))
    assert "all start again from the last checkpoint" in err


@pytest.mark.usefixtures("beside")
def test_killed_controller(struck, nodes):
    """The actor that runs Ray Train, whose workers must be given back, on a machine that more than
    one Ray uses.
    """

    def strike(run: Path) -> None:
        (controller,) = of_cluster(nodes, "TrainController")
        os.kill(controller, signal.SIGKILL)

    struck(strike)


def test_stopped_process(struck):
    """It hangs for longer than launch.hang_timeout_s."""
    err = struck(lambda run: os.kill(processes_of(run)[-1], signal.SIGSTOP))
    assert f"{HANG_S} s" in err


def test_stopped_ray_worker(struck):
    struck(lambda run: os.kill(parent(processes_of(run)[-1]), signal.SIGSTOP))


def test_killed_raylet(struck, nodes):
    """Of a third node, whose process is lost; the job goes on with two."""
    node = nodes.join()
    words = ["launch.num_workers=3", "launch.min_workers=1"]

    def strike(run: Path) -> None:
        (raylet,) = [pid for pid in of_cluster(nodes, "raylet/raylet") if parent(pid) == node.pid]
        os.kill(raylet, signal.SIGKILL)

    struck(strike, *words, rel=1e-3)
    nodes.remove(node)


def test_cut_link(struck, nodes):
    """A node in a network of its own, whose cable is pulled."""
    with cable(nodes.ip) as (inside, pull):
        node = nodes.join(*inside)
        try:
            struck(lambda run: pull(), "launch.num_workers=3", "launch.min_workers=1", rel=1e-3)
        finally:
            nodes.remove(node, signal.SIGKILL)


@contextmanager
def cable(ip: str) -> Iterator[tuple[tuple[str, ...], Callable[[], None]]]:
    """What to put before a command to run it at the other end of a cable, and how to pull it."""
    name, near = f"whet{os.getpid()}", f"wh{os.getpid()}"[:14]
    device = device_of(ip)
    there = f"ip netns exec {name} ip"
    build = [
        f"ip netns add {name}",
        f"ip link add {near} type veth peer name {device} netns {name}",
        f"ip addr add {NETWORK}.1/24 dev {near}",
        f"ip link set {near} up",
        f"{there} addr add {NETWORK}.2/24 dev {device}",
        f"{there} link set {device} up",
        f"{there} link set lo up",
        f"{there} route add default via {NETWORK}.1",
    ]
    try:
        for command in build:
            if device == "lo" or subprocess.run(command.split(), capture_output=True).returncode:
                pytest.skip(f"a network of its own is not permitted here ({command})")
        pull = ["ip", "link", "set", near, "down"]
        yield ("ip", "netns", "exec", name), lambda: subprocess.run(pull, check=True)
    finally:
        subprocess.run(["ip", "link", "del", near], capture_output=True)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_full_disk(struck, tmp_path):
    """It is told in a line; the job tries again, and has the room that was made meanwhile."""
    with mounted(tmp_path / "disk", "size=16m"):
        filler = tmp_path / "disk" / "filler"

        def strike(run: Path) -> None:
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(512))
                except OSError:
                    pass
            wait_until(lambda: not processes_of(run))
            filler.unlink()

        err = struck(strike)
    assert "No space left on device" in err and "Traceback" not in err


def test_killed_head(struck, nodes):
    """The last test: the cluster is gone with it."""

    def strike(run: Path) -> None:
        nodes.remove(nodes.nodes[0], signal.SIGKILL)

    err = struck(strike, code=1)
    assert "the Ray cluster is gone" in err and "resume=" in err
    wait_until(lambda: not of_cluster(nodes, "raylet/raylet"))
