"""What runs inside a Ray Train worker: it starts one process of the job and watches it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from whet_launch.machine.group import ProcessGroup, python_path, threads_each
from whet_launch.machine.process import ENDED_ALONE, STOPPED, ProcessTask

POLL_S = 1.0
STATE = ".ray"  # in the run folder: what Ray Train and the workers note; gone when the job ends


def work(loop: dict[str, Any]) -> None:
    """The train loop of Ray Train. It fails, and Ray starts all again, when its process dies."""
    import ray
    import ray.train

    context, board = ray.train.get_context(), loop["board"]
    rank = context.get_world_rank()
    if ray.get(board.enter.remote(rank)) is not None:
        return
    scratch_of_all = Path(loop["folder"]) / STATE  # the driver removes what a killed worker leaves
    with tempfile.TemporaryDirectory(dir=scratch_of_all) as scratch:
        task = ProcessTask(
            config=loop["config"],
            folder=loop["folder"],
            scratch=scratch,
            directory=loop["directory"],
            threads=int(loop["threads"] or threads_each(context.get_local_world_size())),
            use_gpu=loop["use_gpu"],
            miners_elsewhere=True,
        )
        group = ProcessGroup(task)
        with open(Path(scratch) / "stderr.log", "wb") as log:
            process = _start(group, rank, log)
            if rank == 0:
                assert process.stderr is not None
                threading.Thread(target=_tell, args=(board, process.stderr), daemon=True).start()
            _watch(ray, board, group, process)
            _end(ray, board, group, process, where=f"process {rank} on node {_node(ray)}")


def _node(ray: Any) -> str:
    return f"{ray.util.get_node_ip_address()} {ray.get_runtime_context().get_node_id()[:6]}"


def _start(group: ProcessGroup, rank: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """The process; the leader's words come through a pipe, the others' into a file."""
    device = 0
    if group.task.use_gpu:
        from ray.train.torch import get_device

        device = get_device().index or 0
    return subprocess.Popen(
        [sys.executable, "-m", "whet_launch.machine.process", group.write_task()],
        env={
            **os.environ,  # MASTER_ADDR, MASTER_PORT and WORLD_SIZE are Ray's
            "RANK": str(rank),
            "LOCAL_RANK": str(device),
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            "PYTHONPATH": python_path(),
        },
        stdout=log,
        stderr=subprocess.PIPE if rank == 0 else log,
    )


def _tell(board: Any, words: IO[bytes]) -> None:
    for line in words:
        board.say.remote([line.decode(errors="replace").rstrip("\n")])


def _watch(ray: Any, board: Any, group: ProcessGroup, process: subprocess.Popen[bytes]) -> None:
    """Until the process ends: pass on the wish to stop, and end it when it is silent or when
    another one gave the answer.
    """
    asked_to_stop = False
    while True:
        try:
            process.wait(POLL_S)
            return
        except subprocess.TimeoutExpired:
            pass
        silent = group.end_silent(group.task.config.launch.hang_timeout_s)
        if silent:
            board.say.remote(silent)
        stop, outcome = ray.get(board.state.remote())
        if outcome is not None and not stop:
            group.kill()
        elif stop and not asked_to_stop:
            asked_to_stop = True
            group.stop()


def _end(
    ray: Any, board: Any, group: ProcessGroup, process: subprocess.Popen[bytes], *, where: str
) -> None:
    """Pass on what the process answered; raise if it died and should be started again."""
    outcome = group.outcome()
    stop, answered = ray.get(board.state.remote())
    if outcome is None and stop and process.returncode == ENDED_ALONE:
        outcome = {"kind": STOPPED, "message": ""}
    if outcome is not None:
        ray.get(board.answer.remote(outcome))
    elif process.returncode and answered is None:
        code, trace = process.returncode, group.trace()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        words = [] if trace else [*group.last_words(), f"{where[0].upper()}{where[1:]} {how}."]
        ray.get(board.failed.remote(words, trace))
        raise RuntimeError(f"{where} {how}")
