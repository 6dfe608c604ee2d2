"""Run a function in several real processes that are joined over gloo, and get what each returns.

They are forked from a server that has imported torch, Lightning and DeepSpeed: imports are most of
what such a process costs.
"""

from __future__ import annotations

import importlib
import os
import pickle
import socket
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "deepspeed",
        "whet.verbs.fit",
        "whet.training.run",
        "whet.training.restore",
        "torch.utils.tensorboard",
    ]
)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def _child(scratch: str, environment: dict[str, str], rank: int) -> None:
    output = os.open(f"{scratch}/said{rank}", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    sys.path[:0] = [str(HERE)]
    import torch
    import torch.distributed as dist

    from whet.processes.world import joined

    torch.set_num_threads(1)
    (module, name), arguments = pickle.loads(Path(scratch, "job").read_bytes())
    dist.init_process_group("gloo")
    with joined(seconds=120):
        value = getattr(importlib.import_module(module), name)(*arguments)
    Path(scratch, f"value{rank}").write_bytes(pickle.dumps(value))
    dist.barrier()
    dist.destroy_process_group()


class Processes:
    """`module.name(*arguments)` at work in each of `count` processes."""

    def __init__(self, count: int, module: str, name: str, *arguments: Any) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        Path(self.scratch.name, "job").write_bytes(pickle.dumps(((module, name), arguments)))
        shared = {
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        environment = {**os.environ, **shared}
        self.running = [
            SERVER.Process(target=_child, args=(self.scratch.name, environment, rank))
            for rank in range(count)
        ]
        for process in self.running:
            process.start()

    def ended(self, rank: int, seconds: float = 280) -> tuple[int, str]:
        """Wait for one: its exit code, and what it said."""
        self.running[rank].join(seconds)
        said = Path(self.scratch.name, f"said{rank}").read_text(errors="replace")
        code = self.running[rank].exitcode
        if code is None:
            for process in self.running:
                process.kill()
            raise AssertionError(f"process {rank} did not end: {said[-6000:]}")
        return code, said

    def all_ended(self) -> tuple[list[int], str]:
        """Wait for all: their exit codes, and all they said."""
        ended = [self.ended(rank) for rank in range(len(self.running))]
        return [code for code, _ in ended], "\n".join(said for _, said in ended)

    def values(self) -> list[Any]:
        """What each returned, by rank; an error if one failed."""
        codes, said = self.all_ended()
        assert codes == [0] * len(codes), said[-6000:]
        paths = [Path(self.scratch.name, f"value{rank}") for rank in range(len(codes))]
        return [pickle.loads(path.read_bytes()) for path in paths]


def in_processes(count: int, module: str, name: str, *arguments: Any) -> list[Any]:
    """`module.name(*arguments)` in each of `count` processes; the values by rank."""
    return Processes(count, module, name, *arguments).values()
