"""`refresh=continuous` under Ray: actors that encode and mine beside the training.

They take snapshots of the weights from the run folder (whet.refresh.beside), share the corpus among
them, and are started again when one is lost; the training goes on with the negatives it has.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from whet.config import FitConfig

START_AGAIN_AFTER_S = 1.0


class Miner:
    """One of the actors; together they are a world of their own."""

    def address(self) -> tuple[str, int]:
        """Where the others can meet this one."""
        import ray

        with socket.socket() as server:
            server.bind(("", 0))
            return ray.util.get_node_ip_address(), server.getsockname()[1]

    def mine(self, task: dict[str, Any], rank: int, size: int, meet: tuple[str, int]) -> None:
        """Mine with every snapshot; ends only by failing."""
        if Path(task["directory"]).is_dir():
            os.chdir(task["directory"])
        import torch
        import torch.distributed as dist

        from whet.processes.world import joined
        from whet.refresh.beside import serve

        url = f"tcp://{meet[0]}:{meet[1]}"
        dist.init_process_group("gloo", init_method=url, rank=rank, world_size=size)
        # Where these share the GPUs of the trainers, they share them evenly.
        with joined(rank % max(1, torch.cuda.device_count())):
            serve(task["config"], Path(task["folder"]), lambda: False)


def mine_beside(task: dict[str, Any]) -> None:
    """Keep `refresh.miners` actors at work until this task is cancelled. A Ray task."""
    import time

    import ray

    config: FitConfig = task["config"]
    size = config.refresh.miners
    resources = _resources(ray, task)
    while True:
        actors: list[Any] = [ray.remote(**resources)(Miner).remote() for _ in range(size)]
        try:
            meet = ray.get(actors[0].address.remote())
            runs = [actor.mine.remote(task, rank, size, meet) for rank, actor in enumerate(actors)]
            # The first to end is one that died: the others wait for it in a collective, so all
            # start anew.
            ray.get(ray.wait(runs)[0])
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            task["board"].say.remote([f"A process that mines beside the training died ({last})."])
        for actor in actors:
            ray.kill(actor)
        time.sleep(START_AGAIN_AFTER_S)


def _resources(ray: Any, task: dict[str, Any]) -> dict[str, Any]:
    """A GPU or a CPU for each where the trainers leave some, else a share of what they use."""
    config: FitConfig = task["config"]
    there = ray.cluster_resources()
    kind, option = ("GPU", "num_gpus") if task["use_gpu"] else ("CPU", "num_cpus")
    spare = there.get(kind, 0) - config.launch.num_workers
    others = {} if task["use_gpu"] else {"num_gpus": 0}
    return {option: 1 if spare >= config.refresh.miners else 0, **others}
