"""`launch=ray`: Ray Train places the processes on the cluster's nodes, and places them again when
one dies.

A Ray task beside the driver, which is this process, runs Ray Train. On each node a Ray worker
starts one process of the job (machine/process.py, which has a main thread and signals of its own)
and watches it. The board, an actor beside the driver, carries what they say and answer, and the
wish to stop.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from whet.config import FitConfig
from whet.errors import WhetError
from whet.processes.interrupts import Interrupts
from whet_launch.cluster.cluster import check_nodes, connected, wants_gpu
from whet_launch.cluster.miners import mine_beside
from whet_launch.cluster.worker import STATE, work
from whet_launch.machine.group import begun, gave_up, raise_outcome

POLL_S = 0.3
STOP_WITHIN_S = 60.0  # after Ctrl-C; a step, a checkpoint


class Board:
    """What driver and workers tell each other. A Ray actor."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.asked_to_stop = False
        self.outcome: dict[str, str] | None = None
        self.attempts = 0
        self.trace = ""  # of the first process that failed in the last attempt

    def enter(self, rank: int) -> dict[str, str] | None:
        """A worker begins; an outcome that is there already ends it."""
        if rank == 0:
            self.attempts += 1
            self.trace = ""
            if self.attempts > 1 and self.outcome is None:
                self.lines.append(
                    "A process or a node was lost; all start again from the last checkpoint."
                )
        return self.outcome

    def say(self, lines: list[str]) -> None:
        """The leader tells the user something."""
        self.lines += lines

    def answer(self, outcome: dict[str, str]) -> None:
        """A process ended with something that the user has to know; the first counts."""
        self.outcome = self.outcome or outcome

    def failed(self, words: list[str], trace: str) -> None:
        """A process died: its traceback, or what else is to be told of it."""
        self.trace = self.trace or trace or words[-1]
        self.lines += [line for line in words if line not in self.lines]

    def stop(self) -> None:
        """The user wants the job to save and end."""
        self.asked_to_stop = True

    def state(self) -> tuple[bool, dict[str, str] | None]:
        """For workers: whether to stop, and what another one answered."""
        return self.asked_to_stop, self.outcome

    def news(self) -> tuple[list[str], dict[str, str] | None, int, str]:
        """For the driver: the lines since the last call, the outcome, attempts and trace."""
        lines, self.lines = self.lines, []
        return lines, self.outcome, self.attempts, self.trace


def fit_on_ray(config: FitConfig) -> None:
    """Do the job on a Ray cluster. Raises what the job raises in its processes."""
    import torch  # noqa: F401  (after Ray and the readers of data, MKL finds no room to load)

    with connected(config.launch) as ray:
        folder = begun(config)
        check_nodes(ray, folder)
        _wait_or_say(ray, config)
        board = _beside(ray, Board).remote()
        threads = os.environ.get("OMP_NUM_THREADS")  # in its tasks Ray sets it to 1
        task = {"config": config, "folder": str(folder), "board": board, "threads": threads}
        task |= {"use_gpu": wants_gpu(ray, config), "directory": os.getcwd()}
        with Interrupts() as interrupts:
            runs = [_beside(ray, train, max_retries=0).remote(task)]
            if config.refresh.policy == "continuous":
                runs.append(_beside(ray, mine_beside, max_retries=0).remote(task))
            try:
                outcome, attempts, trace = _follow(
                    ray, board, runs[0], interrupts.received, folder=folder
                )
            finally:
                for run in runs:
                    ray.cancel(run, force=True)  # with it go its workers
        shutil.rmtree(folder / STATE, ignore_errors=True)
        raise_outcome(outcome, folder)
        if not (folder / "model").exists():
            print(trace, end="", file=sys.stderr, flush=True)
            raise gave_up(trace, attempts, folder)


def _wait_or_say(ray: Any, config: FitConfig) -> None:
    """Ray waits for resources without a word."""
    workers = config.launch.min_workers or config.launch.num_workers
    kind = "GPU" if wants_gpu(ray, config) else "CPU"
    there = ray.cluster_resources().get(kind, 0)
    if there < workers:
        print(
            f"The cluster has {there:g} {kind}s, and {workers} processes need one each: waiting "
            "for nodes.",
            file=sys.stderr,
            flush=True,
        )


def _beside(ray: Any, what: Any, **options: Any) -> Any:
    """A task or actor on the driver's node, which ends with the driver and takes no CPU."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(here, soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=strategy, **options)(what)


def train(task: dict[str, Any]) -> None:
    """Run the processes to their end, however often Ray has to start them. A Ray task."""
    from ray.exceptions import ActorDiedError

    launch, deaths = task["config"].launch, 0
    if launch.hang_timeout_s:  # of Ray's workers; the job's processes watch each other
        os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(launch.hang_timeout_s)
    while True:
        try:
            _trainer(task).fit()
            return
        except ActorDiedError:  # of its controller, which Ray Train does not start again itself
            deaths += 1
            if 0 <= launch.max_failures < deaths:
                raise


def _trainer(task: dict[str, Any]) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    launch, folder, use_gpu = task["config"].launch, Path(task["folder"]), task["use_gpu"]
    shutil.rmtree(folder / STATE, ignore_errors=True)
    (folder / STATE).mkdir()
    count: Any = launch.num_workers
    if launch.min_workers is not None:
        count = (launch.min_workers, launch.num_workers)
    return TorchTrainer(
        work,
        train_loop_config=task,
        torch_config=TorchConfig(backend="gloo"),  # its store is where the processes meet
        scaling_config=ScalingConfig(
            num_workers=count,
            use_gpu=use_gpu,
            placement_strategy="PACK" if use_gpu else "SPREAD",
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(folder / STATE),
            failure_config=FailureConfig(max_failures=launch.max_failures),
        ),
    )


def _follow(
    ray: Any, board: Any, run: Any, asked: list[int], *, folder: Path
) -> tuple[dict[str, str] | None, int, str]:
    """Print what is said until the run ends; the outcome, attempts and trace."""
    stop_by = None
    while True:
        try:
            ended = bool(ray.wait([run], timeout=POLL_S)[0])
            lines, outcome, attempts, trace = ray.get(board.news.remote(), timeout=STOP_WITHIN_S)
        except ray.exceptions.RayError as error:
            raise WhetError(
                f"the Ray cluster is gone ({type(error).__name__}). Start it again, and go on "
                f"with: whet fit resume={folder}"
            ) from error
        for line in lines:
            print(line, file=sys.stderr, flush=True)
        if ended:
            return outcome, attempts, trace or _failure(ray, run)
        if asked and stop_by is None:
            board.stop.remote()
            stop_by = time.monotonic() + STOP_WITHIN_S
        # A second Ctrl-C, or no answer to the first: the user does not wait for a dead cluster.
        if len(asked) > 1 or (stop_by is not None and time.monotonic() > stop_by):
            raise KeyboardInterrupt(str(folder))


def _failure(ray: Any, run: Any) -> str:
    """What Ray says where no process could say anything."""
    try:
        ray.get(run)
    except ray.exceptions.RayError as error:
        return str(error)
    return ""
