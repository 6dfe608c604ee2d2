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
import importlib, os, pickle, sys
sys.path[:0] = [{here!r}]
import torch, torch.distributed as dist
torch.set_num_threads(1)
function, arguments, target = pickle.load(open({job!r}, "rb"))
module, name = function
dist.init_process_group("gloo")
from whet.world import joined
with joined(seconds=120):
    value = getattr(importlib.import_module(module), name)(*arguments)
pickle.dump(value, open(target + os.environ["RANK"], "wb"))
dist.barrier()
dist.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def in_processes(count: int, module: str, name: str, *arguments):
    """`module.name(*arguments)` in each of `count` processes; the values by rank."""
    with tempfile.TemporaryDirectory() as scratch:
        job, target = f"{scratch}/job", f"{scratch}/value"
        with open(job, "wb") as file:
            pickle.dump(((module, name), arguments, target), file)
        port = str(free_port())
        running = []
        for rank in range(count):
            environment = os.environ | {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
            }
            code = CHILD.format(here=str(HERE), job=job)
            running.append(
                subprocess.Popen(
                    [sys.executable, "-c", code],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        said = [process.communicate(timeout=280)[0] for process in running]
        codes = [process.returncode for process in running]
        assert codes == [0] * count, "\n".join(said)[-6000:]
        return [pickle.load(open(target + str(rank), "rb")) for rank in range(count)]
