"""Run a function in several real processes that are joined over gloo, and get what each returns."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

CHILD = """
import importlib, pickle, sys
sys.path[:0] = [{here!r}]
import torch, torch.distributed as dist
torch.set_num_threads(1)
(module, name), arguments, target = pickle.load(open({job!r}, "rb"))
dist.init_process_group("gloo")
from whet.world import joined
with joined(seconds=120) as world:
    value = getattr(importlib.import_module(module), name)(*arguments)
pickle.dump(value, open(target + str(world.rank), "wb"))
dist.barrier()
dist.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Processes:
    """`module.name(*arguments)` at work in each of `count` processes."""

    def __init__(self, count: int, module: str, name: str, *arguments) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        self.target = f"{self.scratch.name}/value"
        job = f"{self.scratch.name}/job"
        with open(job, "wb") as file:
            pickle.dump(((module, name), arguments, self.target), file)
        shared = {
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        code = CHILD.format(here=str(HERE), job=job)
        self.running = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(count)
        ]

    def ended(self) -> tuple[list[int], str]:
        """Wait for all: their exit codes, and all they said."""
        said = [process.communicate(timeout=280)[0] for process in self.running]
        return [process.returncode for process in self.running], "\n".join(said)

    def values(self) -> list:
        """What each returned, by rank; an error if one failed."""
        codes, said = self.ended()
        assert codes == [0] * len(codes), said[-6000:]
        paths = [self.target + str(rank) for rank in range(len(codes))]
        return [pickle.loads(Path(path).read_bytes()) for path in paths]


def in_processes(count: int, module: str, name: str, *arguments) -> list:
    """`module.name(*arguments)` in each of `count` processes; the values by rank."""
    return Processes(count, module, name, *arguments).values()
